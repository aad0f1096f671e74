"""The site's own hooks: what ganeti-instance-debootstrap runs, run the same way, after ours."""

from collections.abc import Mapping
from pathlib import Path

from installer.hooks.base import Context, Hook, Report
from installer.target import Target
from node.errors import CommandError, KitError
from node.log import log, step
from node.run import run


class HookSite(Hook):
    """Runs what run-parts(8) would run in CUSTOMIZE_DIR, one by one, so that each has its name.

    Args:
        environ: what Ganeti gave us; the hooks get all of it.
    """

    name = "site"
    tools = ("run-parts",)

    def __init__(self, environ: Mapping[str, str], os_dir: Path) -> None:
        self._environ = environ
        self._os_dir = os_dir

    def enabled(self, context: Context) -> bool:
        return context.settings.hook_site and Path(context.settings.customize_dir).is_dir()

    def apply(self, context: Context, target: Target) -> Report | None:
        directory = context.settings.customize_dir
        listed = run(["run-parts", "--test", "--", directory], what=f"hooks in {directory}")
        env = {**self._environ, **variables(context, target)}
        for hook in listed.stdout.splitlines():
            with step(f"site hook {hook}"):
                self._run(hook, env)
        return None

    def _run(self, hook: str, env: Mapping[str, str]) -> None:
        try:
            # The OS directory is where ganeti-instance-debootstrap's hooks find their files.
            run([hook], env=env, cwd=self._os_dir, on_line=_log, what=f"site hook {hook}")
        except CommandError as error:
            raise KitError(
                error.message, hint=f"mend {hook}, or take it out of its directory"
            ) from error


def _log(line: str) -> None:
    log.info("%s", line)


def variables(context: Context, target: Target) -> dict[str, str]:
    """What ganeti-instance-debootstrap exports for its hooks.

    BLOCKDEV is our loop device also where the disk is a block device: what a hook wrote to that
    would be overwritten when ours is flushed.
    """
    devices = target.devices
    assert devices is not None
    return {
        "TARGET": str(target.root),
        "SUITE": context.settings.suite,
        "ARCH": context.settings.arch,
        "PARTITION_STYLE": context.settings.partition_style,
        "EXTRA_PKGS": ",".join(context.settings.extra_pkgs),
        "BLOCKDEV": str(devices.disk),
        "FSYSDEV": str(devices.fsysdev),
    }
