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
LOOP_INFO_SIZE = 232  # struct loop_info64 of linux/loop.h; lo_device and lo_inode come first
# fcntl_locking(2) and linux/fs.h; Python has no names for them.
F_OFD_GETLK, F_OFD_SETLK = 36, 37
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
    as swap, or held by device mapper, md or another O_EXCL opener (open(2)). For a regular file
    loop devices over it and locks on it are looked up, and it is locked as QEMU locks its images.

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
        if is_block:
            _require_writable(path, fd)
        elif holder := file_holder(path, fd):
            raise _InUseError(holder)
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
    except BlockingIOError:
        raise _InUseError("another process has just locked it") from None


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


def _loop_backing(device: Path) -> tuple[int, int] | None:
    """The device and inode number of the file behind a loop device, or None (loop(4))."""
    status = bytearray(LOOP_INFO_SIZE)
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, LOOP_GET_STATUS64, status)
        finally:
            os.close(fd)
    except OSError:
        return None  # detached by now
    number, inode = struct.unpack_from("=QQ", status)
    return number, inode


def file_holder(path: Path, fd: int) -> str | None:
    """Says who uses a disk file: a loop device over it, or a process that locked it."""
    own = path.stat()
    for state in Path("/sys/block").glob("loop*/loop"):
        device = Path("/dev", state.parts[3])
        # By inode, not by name: that may be of another mount namespace.
        if _loop_backing(device) == (own.st_dev, own.st_ino):
            return f"attached as {device}"
    query = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, *_ = _FLOCK.unpack(fcntl.fcntl(fd, F_OFD_GETLK, query))
    if kind != fcntl.F_UNLCK:
        return "a process holds a lock on it (a running QEMU?)"
    return None
