"""A login prompt on the serial console."""

from guest.hypervisor import console
from installer.guest_tree import GuestTree
from installer.hooks.base import Context, Hook, Later

INITTAB = "etc/inittab"


class HookConsole(Hook):
    """Enables a getty on the serial console.

    systemd starts one on the kernel's console by itself. This one does not depend on the kernel's
    arguments.
    """

    name = "console"

    def enabled(self, context: Context) -> bool:
        return context.settings.hook_console and console(context.instance) is not None

    def apply(self, context: Context, target: GuestTree) -> Later:
        port = console(context.instance)
        assert port is not None
        if target.exists(INITTAB):  # sysvinit
            speed = f" {port.speed}" if port.speed else ""
            line = f"T0:23:respawn:/sbin/getty -L {port.device}{speed} vt100\n"
            target.write(INITTAB, target.read(INITTAB) + line)
        else:
            unit = f"serial-getty@{port.device}.service"
            target.symlink(
                f"etc/systemd/system/getty.target.wants/{unit}",
                "/lib/systemd/system/serial-getty@.service",
            )
        return Later()
