"""The hooks, in the order in which they are applied; the site's hooks are last, to take precedence.

To add a hook, write a class (`base.Hook`) in its own module, and list it in `stages`.
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
    """All hooks, by stages; a stage begins when all hooks of the one before are finished.

    Slow hooks are first: their programs run while others are applied; an RSA key may take longest.
    The password is before GRUB, so that its `finish` does not wait for GRUB.

    Args:
        environ: Ganeti's environment, for the site's hooks.
        assigned: the variables that the site's files assign, for its hooks.
        os_dir: the directory of the OS definition, the working directory of the site's hooks.
    """
    built_in = (
        HookHostKeys(),
        HookPassword(),
        HookGrub(),
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
