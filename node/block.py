"""Block devices and disk files: their size, who holds them, and opening them for us alone."""

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.errors import KitError

SECTOR = 512
SETTLE_SECONDS = 5.0
LOOP_GET_STATUS64 = 0x4C05
LOOP_INFO_SIZE = 232  # struct loop_info64 of linux/loop.h: lo_device, lo_inode, lo_rdevice, …
# fcntl_locking(2) and linux/fs.h; Python has no names for them.
F_OFD_SETLK = 37
BLKROGET = 0x125E
HINT = "gnt-cluster verify-disks and gnt-instance info tell what Ganeti knows of it"
# struct flock: l_type, l_whence, l_start, l_len, l_pid
_FLOCK = struct.Struct("hhqqi4x")


@dataclass(frozen=True)
class Backing:
    """A disk opened for us alone: its path, its size in bytes, and the descriptor that holds it."""

    path: Path
    size: int
    fd: int
    is_block: bool


@contextmanager
def claimed(path: Path) -> Iterator[Backing]:
    """Opens a block device or disk file for writing, for us alone, and syncs it at the end.

    A block device is opened O_EXCL, which the kernel refuses while it is mounted anywhere, used
    as swap, or held by device mapper, md or another O_EXCL opener (open(2)); a regular file is
    locked as QEMU locks its images. Loop devices do neither, so they are looked up.

    Raises:
        KitError: it is missing, of another kind, read-only or in use; the holder is named.
    """
    backing = _open(path)
    try:
        yield backing
        try:
            os.fsync(backing.fd)
        except OSError as error:
            raise KitError(f"flush of {path}: {error.strerror}") from error
    finally:
        os.close(backing.fd)


def _open(path: Path) -> Backing:
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return _open_once(path)
        except _InUseError as busy:
            # udev probes a device for a moment, and the kernel detaches a killed run's loop
            # devices shortly after its processes are gone.
            if time.monotonic() > deadline:
                raise KitError(
                    f"disk {path}: in use: {busy}",
                    hint="stop the instance, or unmount or detach it, then try again",
                ) from None
            time.sleep(0.1)


class _InUseError(Exception):
    pass


def _open_once(path: Path) -> Backing:
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
            raise KitError(f"disk {path}: neither a block device nor a regular file", hint=HINT)
        is_block = stat.S_ISBLK(mode)
        exclusive = os.O_EXCL if is_block else 0
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | exclusive)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise _InUseError(block_holder(path)) from None
        raise KitError(f"disk {path}: {error.strerror}", hint=HINT) from error
    try:
        if loop := _loop_over(path.stat()):
            raise _InUseError(f"attached as {loop}")
        if is_block:
            _require_writable(path, fd)
        else:
            _lock(fd)
        return Backing(path, os.lseek(fd, 0, os.SEEK_END), fd, is_block)
    except BaseException:
        os.close(fd)
        raise


def _require_writable(path: Path, fd: int) -> None:
    (read_only,) = struct.unpack("i", fcntl.ioctl(fd, BLKROGET, bytes(4)))
    if read_only:
        raise KitError(
            f"disk {path}: the device is read-only", hint=f"blockdev --setrw {path}, if it may be"
        )


def _lock(fd: int) -> None:
    try:
        fcntl.fcntl(fd, F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):  # either, says fcntl_locking(2)
        raise _InUseError("a process holds a lock on it (a running QEMU?)") from None


def block_holder(path: Path) -> str:
    """Says who holds a block device: a mount, swap, or a device stacked on top."""
    number = path.stat().st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    for mountinfo in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            lines = mountinfo.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[2] == name:
                return f"mounted on {fields[4]}"
    for line in Path("/proc/swaps").read_text().splitlines()[1:]:
        swap = Path(line.split()[0])
        if swap.exists() and swap.stat().st_rdev == number:
            return "active as swap"
    holders = Path(f"/sys/dev/block/{name}/holders")
    if holders.is_dir() and (names := sorted(entry.name for entry in holders.iterdir())):
        return f"held by {', '.join(names)}"
    return "another process has it open for itself alone"


def _loop_over(own: os.stat_result) -> Path | None:
    """The loop device that is attached to a file or block device, if one is (loop(4)).

    Files are told by inode, not by name: that may be of another mount namespace.
    """
    for state in Path("/sys/block").glob("loop*/loop"):
        device = Path("/dev", state.parts[3])
        status = bytearray(LOOP_INFO_SIZE)
        try:
            fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, LOOP_GET_STATUS64, status)
            finally:
                os.close(fd)
        except OSError:
            continue  # detached by now
        number, inode, block_device = struct.unpack_from("=QQQ", status)
        if stat.S_ISBLK(own.st_mode):
            found = block_device == own.st_rdev
        else:
            found = (number, inode) == (own.st_dev, own.st_ino)
        if found:
            return device
    return None
