"""The hooks, in the order they are applied; the site's come last, and win.

A new hook is a class in a module of its own (`base.Hook`), and has its place in `stages`.
"""

from collections.abc import Mapping
from pathlib import Path

from installer.hooks.apt import HookApt
from installer.hooks.base import Hook
from installer.hooks.bootloader import HookBootLoader
from installer.hooks.console import HookConsole
from installer.hooks.fstab import HookFstab, HookGrow
from installer.hooks.grub import HookGrub
from installer.hooks.identity import HookHostname, HookMachineId
from installer.hooks.locale import HookLocale, HookTimezone
from installer.hooks.network import HookNetwork
from installer.hooks.password import HookPassword
from installer.hooks.site import HookSite
from installer.hooks.ssh import HookAuthorizedKeys, HookHostKeys, HookSsh
from installer.hooks.swap import HookSwap
from installer.hooks.user import HookUser


def stages(
    environ: Mapping[str, str], assigned: Mapping[str, str], os_dir: Path
) -> tuple[tuple[Hook, ...], ...]:
    """Every hook there is; a stage begins when all of the one before are finished.

    What takes long comes first, as it goes on while others are applied. The password comes before
    GRUB, so that what follows it is done while GRUB is still at work.

    Args:
        environ: the environment that Ganeti gave us, for the site's hooks.
        assigned: what the site's files assign, for its hooks as well.
        os_dir: the OS definition's directory, where they start.
    """
    built_in = (
        HookPassword(),
        HookGrub(),
        HookHostKeys(),
        HookFstab(),
        HookSwap(),
        HookHostname(),
        HookMachineId(),
        HookTimezone(),
        HookLocale(),
        HookNetwork(),
        HookSsh(),
        HookAuthorizedKeys(),
        HookUser(),
        HookApt(),
        HookConsole(),
        HookGrow(),
    )
    return built_in, (HookBootLoader(),), (HookSite(environ, assigned, os_dir),)
