"""The hooks, in the order they are applied; the site's come last, and win."""

from collections.abc import Mapping
from pathlib import Path

from installer.hooks.base import Hook
from installer.hooks.console import HookConsole
from installer.hooks.fstab import HookFstab
from installer.hooks.grow import HookGrow
from installer.hooks.grub import HookGrub
from installer.hooks.hostname import HookHostname
from installer.hooks.identity import HookMachineId
from installer.hooks.locale import HookLocale, HookTimezone
from installer.hooks.network import HookNetwork
from installer.hooks.password import HookPassword
from installer.hooks.site import HookSite
from installer.hooks.ssh import HookAuthorizedKeys, HookHostKeys, HookHostKeysMade, HookSsh
from installer.hooks.swap import HookSwap


def all_hooks(environ: Mapping[str, str], os_dir: Path) -> tuple[Hook, ...]:
    """Every hook there is.

    Args:
        environ: the environment that Ganeti gave us, for the site's hooks.
        os_dir: the OS definition's directory, where they start.
    """
    host_keys = HookHostKeys()
    return (
        host_keys,  # first, as its keys take longest; awaited before the site's hooks
        HookFstab(),
        HookSwap(),
        HookHostname(),
        HookMachineId(),
        HookTimezone(),
        HookLocale(),
        HookNetwork(),
        HookSsh(),
        HookAuthorizedKeys(),
        HookPassword(),
        HookConsole(),
        HookGrow(),
        HookGrub(),
        HookHostKeysMade(host_keys),
        HookSite(environ, os_dir),
    )
