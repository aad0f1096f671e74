"""Block devices and disk files: their size, and opening them exclusively."""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.devices import qemu_locks
from node.devices.holders import (
    block_holder,
    block_user,
    is_swap_file,
    is_swapped_to,
    loop_over,
)
from node.devices.settling import InUseError, settled
from node.errors import KitError

SECTOR = 512
BLKROGET = 0x125E  # linux/fs.h; Python has no name for it
HINT = "gnt-cluster verify-disks and gnt-instance info show what Ganeti knows about it"


@dataclass(frozen=True)
class Backing:
    """A disk that we have claimed: its path, size in bytes, and open descriptor."""

    path: Path
    size: int
    fd: int
    is_block: bool


def disk_size(path: Path) -> int:
    """The size of a block device or disk file, in bytes.

    Raises:
        OSError: it cannot be opened; EINVAL for other kinds, such as a FIFO.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
            raise OSError(errno.EINVAL, "neither a block device nor a regular file", str(path))
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


@contextmanager
def claimed(
    path: Path,
    *,
    name: str | None = None,
    in_use: type[KitError] = KitError,
    readers_allowed: bool = False,
) -> Iterator[Backing]:
    """Opens a block device or disk file for writing, exclusively, and syncs it at the end.

    A block device is opened with O_EXCL (open(2)). The kernel refuses that while the device is
    mounted, used as swap, or held by device mapper, md or another O_EXCL opener. QEMU does not use
    O_EXCL, so devices and files are also locked in QEMU's way, and no other process may have them
    open. Loop devices do neither, so they are searched for.

    Args:
        path: the device or file.
        name: how errors name it.
        in_use: what is raised while it is in use.
        readers_allowed: whether processes that have it open for reading only do not matter.

    Raises:
        KitError: it is missing, of another kind, read-only or in use; the error names its user.
    """
    name = name or f"disk {path}"
    hint = "stop the instance, or unmount or detach it, then try again"
    backing = settled(lambda: _open_once(path, name, readers_allowed), name, hint, in_use=in_use)
    try:
        yield backing
        try:
            os.fsync(backing.fd)
        except OSError as error:
            raise KitError(
                f"flush of {path}: {error.strerror}", hint="see dmesg for errors of its device"
            ) from error
    finally:
        os.close(backing.fd)


def open_disk(path: Path, flags: int, name: str, hint: str) -> int:
    """Opens a block device or file; returns its descriptor.

    Args:
        path: the device or file.
        flags: of open(2); with O_EXCL a device in use is refused.
        name: how errors name it.
        hint: for errors that have no hint of their own here.

    Raises:
        InUseError: the kernel refuses O_EXCL.
        KitError: it cannot be opened for another reason.
    """
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise InUseError(block_holder(path)) from None
        if error.errno == errno.EMEDIUMTYPE:  # drbd_open() of drivers/block/drbd
            raise KitError(
                f"{name}: a DRBD device that is Secondary on this node",
                hint="run it on the instance's primary node, with the disks active",
            ) from None
        raise KitError(f"{name}: {error.strerror}", hint=hint) from error


def _open_once(path: Path, name: str, readers_allowed: bool) -> Backing:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise KitError(f"{name}: {error.strerror}", hint=HINT) from error
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
        raise KitError(f"{name}: neither a block device nor a regular file", hint=HINT)
    is_block = stat.S_ISBLK(mode)
    fd = open_disk(path, os.O_RDWR | (os.O_EXCL if is_block else 0), name, HINT)
    try:
        if loop := loop_over(path.stat()):
            raise InUseError(f"attached as {loop}")
        if user := block_user(os.fstat(fd), writing=readers_allowed):
            raise InUseError(f"{user} has it open")
        if is_block:
            _require_writable(path, fd, name)
        elif is_swapped_to(fd) or is_swap_file(os.fstat(fd)):
            raise InUseError("active as swap")
        _lock(fd, name)
        return Backing(path, os.lseek(fd, 0, os.SEEK_END), fd, is_block)
    except BaseException:
        os.close(fd)
        raise


def _require_writable(path: Path, fd: int, name: str) -> None:
    (read_only,) = struct.unpack("i", fcntl.ioctl(fd, BLKROGET, bytes(4)))
    if read_only:
        raise KitError(
            f"{name}: the device is read-only",
            hint=f"if it may be written to: blockdev --setrw {path}",
        )


def _lock(fd: int, name: str) -> None:
    try:
        locked = qemu_locks.lock_whole(fd)
    except OSError as error:
        raise KitError(
            f"{name}: cannot find out whether it is in use: its file system refuses locks:"
            f" {error.strerror}",
            hint="use a file system with working locks; on NFS, check that rpc.statd runs",
        ) from error
    if not locked:
        raise InUseError("a process holds a lock on it (a running QEMU, perhaps on another node)")
