"""What the site's hooks have made of the boot loader: where it is GRUB, it must find its parts."""

import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path

from guest.hypervisor import own_kernel
from installer.disks.partitions import SECTOR, Use
from installer.guest_tree import GuestTree
from installer.hooks.base import Context, Hook, Later
from installer.hooks.grub import INSTALL, LOADERS, MENU, install_argv
from installer.settings import MIB
from node.errors import KitError
from node.log import log, step
from node.run import run, which

IMAGES = "boot/grub/i386-pc"
UPDATE = "usr/sbin/update-grub"
# Of the first sector, what is code: a disk's identifier and its partitions follow.
CODE = 440
# Of a file system without a partition table around it, what ext2, ext3 and ext4 leave free.
FREE = 1024
# How GRUB's boot.img begins, and what it says when it fails (grub-core/boot/i386/pc/boot.S).
JUMP, NAME = b"\xeb\x63", b"GRUB \0"
# The partition's own loop device, which nobody will find in the guest.
LOOP = re.compile(r"(root=|hostdisk/+)/?dev/loop\d")


@dataclass(frozen=True)
class Loader:
    """A boot loader on a disk: its code, and the files of GRUB (name, size, time)."""

    code: bytes
    files: tuple[tuple[str, int, int], ...]

    @property
    def is_grub(self) -> bool:
        """Whether it is GRUB 2 that the firmware starts."""
        return self.code.startswith(JUMP) and NAME in self.code[:CODE]


class HookBootLoader(Hook):
    """Installs GRUB once more where a site hook has installed it.

    On the node, a partition of the disk is a loop device of its own. So GRUB does not see that it
    needs a module to read the partition table, unless it is told: its image would not find the
    menu. It has no switch, as HOOK_GRUB=no is for sites that install GRUB themselves.
    """

    name = "boot_loader"

    def enabled(self, context: Context) -> bool:
        is_ours = own_kernel(context.instance) and context.settings.arch in LOADERS
        return is_ours and context.site_hooks != ()

    def apply(self, context: Context, target: GuestTree) -> Later:
        ours = _found(context, target)
        return Later(mend=lambda: self._mend(context, target, ours))

    def _mend(self, context: Context, target: GuestTree, ours: Loader) -> None:
        found = _found(context, target)
        if found != ours:
            if not found.is_grub:
                log.info("boot loader: a site hook has installed another one than GRUB: it stays")
                return
            with step("boot loader: GRUB, as a site hook has installed it, gets all modules"):
                _install(context, target)
        if found.is_grub:
            _mend_menu(context, target)


def _found(context: Context, target: GuestTree) -> Loader:
    devices, root = target.devices, context.layout.root
    assert devices is not None
    uses = {part.use: part for part in root.partitions}
    if bios := uses.get(Use.BIOS_BOOT):
        code = _read(devices.disk, 0, SECTOR)[:CODE] + _read(devices.disk, bios.offset, bios.size)
    else:
        end = min(uses[Use.ROOT].offset, MIB) if uses else 2 * FREE
        start = _read(devices.disk, 0, end)
        code = start[:CODE] + start[SECTOR : end if uses else FREE]
    directory = target.path(IMAGES)
    paths = sorted(directory.iterdir()) if directory.is_dir() else []
    states = [(path.name, path.lstat()) for path in paths]
    return Loader(code, tuple((name, state.st_size, state.st_mtime_ns) for name, state in states))


def _read(device: Path, offset: int, size: int) -> bytes:
    """The bytes of a disk, also where a hook has written them past this device.

    Direct reads are made after what this device still has to write, and see what others wrote.
    """
    descriptor = os.open(device, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, size) as buffer:
            os.preadv(descriptor, [buffer], offset)
            return buffer[:]
    finally:
        os.close(descriptor)


def _install(context: Context, target: GuestTree) -> None:
    assert target.devices is not None
    # --recheck: a device.map of the hook names devices that are gone by now.
    argv = [*install_argv(context), "--recheck"]
    if target.exists(INSTALL):
        target.run([*argv, str(target.devices.disk)], syncs=True)
    elif which("grub-install"):
        boot = f"--boot-directory={target.path('boot')}"
        run([*argv, boot, target.devices.disk], what="boot loader")
    else:
        log.warning("boot loader: neither node nor guest has grub-install: it is left as it is")


def _mend_menu(context: Context, target: GuestTree) -> None:
    if target.exists(MENU) and not LOOP.search(target.read(MENU)):
        return
    if target.exists(UPDATE):
        with step("boot loader: its menu names devices of the node, and is made anew"):
            target.run(["update-grub"])
    if not target.exists(MENU):
        log.warning("boot loader: a site hook has left GRUB without a menu")
    elif LOOP.search(target.read(MENU)):
        raise KitError(
            f"boot menu of {context.instance.name}: a site hook has made one that names devices of"
            " the node",
            hint="let the hook run update-grub, or take its boot loader out: HOOK_GRUB=yes has one",
        )
