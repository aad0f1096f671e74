"""Checks the boot loader after the site's hooks, and repairs GRUB if a site hook installed it."""

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
# Bytes of code in the first sector; the disk's identifier and its partitions follow.
CODE = 440
# Bytes at the start of a bare disk that ext2, ext3 and ext4 do not use.
FREE = 1024
# The first bytes of GRUB's boot.img, and a string in it (grub-core/boot/i386/pc/boot.S).
JUMP, NAME = b"\xeb\x63", b"GRUB \0"
# The loop device of a partition, which does not exist in the running guest.
LOOP = re.compile(r"(root=|hostdisk/+)/?dev/loop\d")


@dataclass(frozen=True)
class Loader:
    """A boot loader on a disk: its code, and the files of GRUB (name, size, time)."""

    code: bytes
    files: tuple[tuple[str, int, int], ...]

    @property
    def is_grub(self) -> bool:
        """Whether the firmware starts GRUB 2."""
        return self.code.startswith(JUMP) and NAME in self.code[:CODE]


class HookBootLoader(Hook):
    """Installs GRUB again if a site hook has installed it.

    On the node, each partition of the disk has its own loop device. So grub-install does not see
    that GRUB needs a module for the partition table, and its image would not find the menu. This
    hook has no switch, as HOOK_GRUB=no is for sites that install GRUB themselves.
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
                log.info("boot loader: a site hook has installed another one than GRUB: it is kept")
                return
            with step("boot loader: a site hook has installed GRUB: install it with all modules"):
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
    """Reads bytes of a disk, also those that a hook wrote through another device.

    A direct read waits for pending writes of this device, and does not use its old page cache.
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
    # --recheck: a device.map that the hook made names devices that no longer exist.
    argv = [*install_argv(context), "--recheck"]
    if target.exists(INSTALL):
        target.run([*argv, str(target.devices.disk)], syncs=True)
    elif which("grub-install"):
        boot = f"--boot-directory={target.path('boot')}"
        run([*argv, boot, target.devices.disk], what="boot loader")
    else:
        log.warning("boot loader: neither node nor guest has grub-install: it is not changed")


def _mend_menu(context: Context, target: GuestTree) -> None:
    if target.exists(MENU) and not LOOP.search(target.read(MENU)):
        return
    if target.exists(UPDATE):
        with step("boot loader: its menu names devices of the node: make it again"):
            target.run(["update-grub"])
    if not target.exists(MENU):
        log.warning("boot loader: a site hook has left GRUB without a menu")
    elif LOOP.search(target.read(MENU)):
        raise KitError(
            f"boot menu of {context.instance.name}: the one that a site hook has made names devices"
            " of the node",
            hint="let the hook run update-grub, or remove its boot loader: HOOK_GRUB=yes installs"
            " GRUB",
        )
