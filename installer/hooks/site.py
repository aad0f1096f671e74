"""The site's own hooks: what ganeti-instance-debootstrap runs, run the same way, after ours."""

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

# What Ganeti tells of the instance is not a file's to change.
_GANETIS = re.compile(r"(OS|OSP|INSTANCE|DISK|NIC)_.*|HYPERVISOR|DEBUG_LEVEL")
# Assigned in a file that was sourced, these stayed within ganeti-instance-debootstrap's own shell.
# In the environment they would steer the loader and the shells and interpreters of the node and of
# the guest (ld.so(8), bash(1), sh(1)); and a TMPDIR of the node does not exist in the guest.
_STEERING = re.compile(
    r"LD_.*|BASH(_.*|OPTS)|SHELLOPTS|ENV|IFS|PS4|POSIXLY_CORRECT|PYTHON[A-Z]+|PERL(5?LIB|5?OPT|5DB)"
    r"|TMPDIR|PWD|OLDPWD|SHLVL"
)
# The settings of ganeti-instance-debootstrap, whose hooks know them by these names.
_SETTINGS = (
    *("mirror", "proxy", "components", "customize_dir", "variants_dir", "generate_cache"),
    *("clean_cache", "cache_dir", "partition_style", "partition_alignment", "extra_pkgs"),
)


def listed(settings: Settings) -> tuple[str, ...]:
    """What run-parts(8) would run in CUSTOMIZE_DIR.

    Raises:
        KitError: it cannot be read.
    """
    directory = settings.customize_dir
    if not settings.hook_site or not Path(directory).is_dir():
        return ()
    found = run(["run-parts", "--test", "--", directory], what=f"hooks in {directory}")
    return tuple(found.stdout.splitlines())


class HookSite(Hook):
    """Runs the site's hooks one by one, so that each has its name.

    Args:
        environ: what Ganeti gave us; the hooks get all of it.
        assigned: what the defaults file and the variant's file assign, known to us or not.
        os_dir: the OS definition's directory, where they start.
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
            # The OS directory is where ganeti-instance-debootstrap's hooks find their files.
            run([hook], env=env, cwd=self._os_dir, on_line=show, what=f"site hook {hook}")
        except CommandError as error:
            raise KitError(
                _without_password(error.message, settings),
                hint=f"mend {hook}, or take it out of its directory",
            ) from error


def _without_password(line: str, settings: Settings) -> str:
    """A line of a hook as the log may have it: without the proxy's password."""
    account = urlsplit(settings.proxy).netloc.rpartition("@")[0]
    for secret in (account, account.partition(":")[2]):
        if secret:
            line = line.replace(secret, "***")
    return line


def passed_on_to_hooks(assigned: Mapping[str, str]) -> dict[str, str]:
    """Of what the site's files assign, what hooks find in their environment."""
    return {
        name: value
        for name, value in assigned.items()
        if not _GANETIS.fullmatch(name) and not _STEERING.fullmatch(name)
    }


def hook_variables(context: Context, target: GuestTree) -> dict[str, str]:
    """What ganeti-instance-debootstrap has for its hooks, be it exported or by its common.sh.

    BLOCKDEV is our loop device also where the disk is a block device: what a hook wrote to that
    would be overwritten when ours is flushed. The values are those that count for this guest: an
    OS parameter may have changed what the files say.
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
