"""GRUB for a guest from a dump, by the guest's own programs, in the libguestfs appliance.

A dump has the files of a boot loader, but not what stands in front of the file system. The guest's
programs may do anything, so they never run on the node itself.
"""

from collections.abc import Callable
from pathlib import Path

from guest.hypervisor import own_kernel
from guest.instance import Instance
from installer.hooks.grub import LOADERS, MENU
from installer.rename import guest_in_appliance
from installer.settings import Settings
from node.errors import KitError
from node.log import step

MENUS = (f"/{MENU}", "/boot/grub/menu.lst")  # the latter: of GRUB 0.97


def is_wanted(instance: Instance, settings: Settings, index: int) -> bool:
    """Whether a guest needs code in the boot sector of this disk."""
    starts_itself = own_kernel(instance) and not instance.hypervisor.startswith("xen-pvm")
    return index == 0 and starts_itself and settings.hook_grub and settings.arch in LOADERS


def install(disk: Path, instance: Instance, uuid: str, *, bare: bool) -> None:
    """Installs GRUB on a disk that nobody uses.

    Args:
        disk: the whole disk.
        instance: the guest.
        uuid: of its root file system.
        bare: whether the disk has no partitions.

    Raises:
        KitError: it cannot be installed, or has no menu for this root file system.
    """
    remedy = (
        "give the instance a kernel of the node (gnt-backup import -H kvm:kernel_path=...), or set"
        " HOOK_GRUB=no; no boot loader is installed then"
    )
    with step("boot loader"), guest_in_appliance([disk], instance) as files:
        force = ["--force"] if bare else []  # there is no gap to embed into
        try:
            files.run(["grub-install", "--recheck", *force, files.first_disk()])
            if not _names(files.read, uuid):
                files.run(["env", "GRUB_DISABLE_OS_PROBER=true", "update-grub"])
        except KitError as error:
            raise KitError(
                f"boot loader of {instance.name}: {error.message}", hint=remedy
            ) from error
        if not _names(files.read, uuid):
            raise KitError(
                f"boot menu of {instance.name}: it has no entry for its root, UUID {uuid}",
                hint=remedy,
            )


def _names(read: Callable[[str], str | None], uuid: str) -> bool:
    menu = next((text for name in MENUS if (text := read(name)) is not None), "")
    return f"root=UUID={uuid}" in menu
