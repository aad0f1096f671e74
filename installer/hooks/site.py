"""Runs the site's hooks like ganeti-instance-debootstrap does, after the built-in hooks."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from installer.guest_tree import GuestTree
from installer.hooks.base import Context, Hook, Later
from installer.settings import DEFINITIONS, Settings, as_text
from node.errors import CommandError, KitError
from node.log import log, step
from node.run import run

# Ganeti's variables about the instance, which files must not change.
_GANETIS = re.compile(r"(OS|OSP|INSTANCE|DISK|NIC)_.*|HYPERVISOR|DEBUG_LEVEL")
# ganeti-instance-debootstrap sources the files, so there these are shell variables. In the
# environment of hooks they would change how the loader, shells and interpreters of the node and of
# the guest work (ld.so(8), bash(1), sh(1)). A TMPDIR of the node does not exist in the guest.
_STEERING = re.compile(
    r"LD_.*|BASH(_.*|OPTS)|SHELLOPTS|ENV|IFS|PS4|POSIXLY_CORRECT|PYTHON[A-Z]+|PERL(5?LIB|5?OPT|5DB)"
    r"|TMPDIR|PWD|OLDPWD|SHLVL"
)
# The settings of ganeti-instance-debootstrap, which hooks expect in their environment.
_SETTINGS = (
    *("mirror", "proxy", "components", "customize_dir", "variants_dir", "generate_cache"),
    *("clean_cache", "cache_dir", "partition_style", "partition_alignment", "extra_pkgs"),
)


def listed(settings: Settings) -> tuple[str, ...]:
    """The paths of the site's hooks: those that run-parts(8) would run in CUSTOMIZE_DIR.

    Raises:
        KitError: the directory cannot be read.
    """
    directory = settings.customize_dir
    if not settings.hook_site or not Path(directory).is_dir():
        return ()
    found = run(["run-parts", "--test", "--", directory], what=f"hooks in {directory}")
    return tuple(found.stdout.splitlines())


class HookSite(Hook):
    """Runs the site's hooks one by one, so that errors have the name of the hook.

    Args:
        environ: Ganeti's environment, which the hooks get.
        assigned: the variables that the defaults file and the variant's file assign, settings or
            not.
        os_dir: the directory of the OS definition, the hooks' working directory.
    """

    name = "site"

    def __init__(
        self, environ: Mapping[str, str], assigned: Mapping[str, str], os_dir: Path
    ) -> None:
        self._environ = {**environ, **passed_on_to_hooks(assigned)}
        self._os_dir = os_dir

    def enabled(self, context: Context) -> bool:
        return context.site_hooks != ()

    def apply(self, context: Context, target: GuestTree) -> Later:
        env = {**self._environ, **hook_variables(context, target)}
        for hook in context.site_hooks:
            with step(f"site hook {hook}"):
                self._run(hook, env, context.settings)
        return Later()

    def _run(self, hook: str, env: Mapping[str, str], settings: Settings) -> None:
        def show(line: str) -> None:
            log.info("%s", _without_password(line, settings))

        try:
            # Hooks for ganeti-instance-debootstrap expect the OS directory as working directory.
            run([hook], env=env, cwd=self._os_dir, on_line=show, what=f"site hook {hook}")
        except CommandError as error:
            raise KitError(
                _without_password(error.message, settings),
                hint=f"correct {hook}, or remove it from its directory",
            ) from error


def _without_password(line: str, settings: Settings) -> str:
    """A hook's line for the log, without the user and password of the proxy."""
    account = urlsplit(settings.proxy).netloc.rpartition("@")[0]
    for secret in (account, account.partition(":")[2]):
        if secret:
            line = line.replace(secret, "***")
    return line


def passed_on_to_hooks(assigned: Mapping[str, str]) -> dict[str, str]:
    """The assigned variables that hooks get in their environment."""
    return {
        name: value
        for name, value in assigned.items()
        if not _GANETIS.fullmatch(name) and not _STEERING.fullmatch(name)
    }


def hook_variables(context: Context, target: GuestTree) -> dict[str, str]:
    """The variables that ganeti-instance-debootstrap exports, or has in its common.sh, for hooks.

    BLOCKDEV is our loop device even if the disk is a block device: a hook's direct writes to the
    disk could be overwritten when the loop device is flushed. The values include OS parameters.
    """
    settings, devices = context.settings, target.devices
    assert devices is not None
    found = {DEFINITIONS[name].key: as_text(getattr(settings, name)) for name in _SETTINGS}
    if settings.proxy:
        found |= {"http_proxy": settings.proxy, "https_proxy": settings.proxy}
    return found | {
        "TARGET": str(target.root),
        "SUITE": settings.suite,
        "ARCH": settings.arch,
        "OSP_FILESYSTEM": settings.filesystem,
        "BLOCKDEV": str(devices.disk),
        "FSYSDEV": str(devices.fsysdev),
    }
