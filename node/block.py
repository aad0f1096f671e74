"""Block devices and disk files: their size, who holds them, and opening them for us alone."""

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from node.errors import KitError
from node.stack import SYS, loop_status, partitions, stacked_on, sysfs, whole_disk

SECTOR = 512
SETTLE_SECONDS = 5.0
# fcntl_locking(2) and linux/fs.h; Python has no names for them.
F_OFD_SETLK = 37
BLKROGET = 0x125E
PROC = Path("/proc")
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
def claimed(path: Path, *, unopened: bool = False, name: str | None = None) -> Iterator[Backing]:
    """Opens a block device or disk file for writing, for us alone, and syncs it at the end.

    A block device is opened O_EXCL, which the kernel refuses while it is mounted anywhere, used
    as swap, or held by device mapper, md or another O_EXCL opener (open(2)); a regular file is
    locked as QEMU locks its images. Loop devices do neither, so they are looked up.

    Args:
        path: the device or file.
        unopened: whether it is in use also if any process merely has it open, as QEMU has the
            devices of its guests.
        name: what errors call it.

    Raises:
        KitError: it is missing, of another kind, read-only or in use; the holder is named.
    """
    name = name or f"disk {path}"
    backing = _open(path, unopened, name)
    try:
        yield backing
        try:
            os.fsync(backing.fd)
        except OSError as error:
            raise KitError(f"flush of {path}: {error.strerror}") from error
    finally:
        os.close(backing.fd)


def _open(path: Path, unopened: bool, name: str) -> Backing:
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return _open_once(path, unopened, name)
        except _InUseError as busy:
            # udev probes a device for a moment, and the kernel detaches a killed run's loop
            # devices shortly after its processes are gone.
            if time.monotonic() > deadline:
                raise KitError(
                    f"{name}: in use: {busy}",
                    hint="stop the instance, or unmount or detach it, then try again",
                ) from None
            time.sleep(0.1)


class _InUseError(Exception):
    pass


def _open_once(path: Path, unopened: bool, name: str) -> Backing:
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
            raise KitError(f"{name}: neither a block device nor a regular file", hint=HINT)
        is_block = stat.S_ISBLK(mode)
        exclusive = os.O_EXCL if is_block else 0
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | exclusive)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise _InUseError(block_holder(path)) from None
        if error.errno == errno.EMEDIUMTYPE:  # drbd_open() of drivers/block/drbd
            raise KitError(
                f"{name}: a DRBD device that is Secondary on this node",
                hint="run it on the instance's primary node, with the disks active",
            ) from None
        raise KitError(f"{name}: {error.strerror}", hint=HINT) from error
    try:
        if loop := _loop_over(path.stat()):
            raise _InUseError(f"attached as {loop}")
        if unopened and (user := block_user(path.stat())):
            raise _InUseError(f"{user} has it open")
        if is_block:
            _require_writable(path, fd, name)
        else:
            _lock(fd)
        return Backing(path, os.lseek(fd, 0, os.SEEK_END), fd, is_block)
    except BaseException:
        os.close(fd)
        raise


def _require_writable(path: Path, fd: int, name: str) -> None:
    (read_only,) = struct.unpack("i", fcntl.ioctl(fd, BLKROGET, bytes(4)))
    if read_only:
        raise KitError(
            f"{name}: the device is read-only", hint=f"blockdev --setrw {path}, if it may be"
        )


def _lock(fd: int) -> None:
    try:
        fcntl.fcntl(fd, F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):  # either, says fcntl_locking(2)
        raise _InUseError("a process holds a lock on it (a running QEMU?)") from None


def block_holder(path: Path) -> str:
    """Says who holds a block device: a mount, swap, a device stacked on top, or a partition."""
    number = path.stat().st_rdev
    if place := _mounted_on(number):
        return f"mounted on {place}"
    if _is_swap(number):
        return "active as swap"
    if names := stacked_on(number):
        return f"held by {', '.join(names)}"
    for partition in partitions(number):
        name = sysfs(partition).resolve().name
        if place := _mounted_on(partition):
            return f"its partition {name} is mounted on {place}"
        if _is_swap(partition):
            return f"its partition {name} is active as swap"
        if names := stacked_on(partition):
            return f"its partition {name} is held by {', '.join(names)}"
    return "another process has it open for itself alone"


def _mounted_on(number: int) -> str | None:
    name = f"{os.major(number)}:{os.minor(number)}"
    for mountinfo in PROC.glob("[0-9]*/mountinfo"):
        try:
            lines = mountinfo.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            fields, _, more = line.partition(" - ")
            # btrfs has device numbers of its own, so the source of the mount (the second field
            # behind the dash, proc_pid_mountinfo(5)) counts, too.
            if fields.split()[2] == name or _has_number(Path(more.split()[1]), number):
                return fields.split()[4]
    return None


def _is_swap(number: int) -> bool:
    lines = (PROC / "swaps").read_text().splitlines()[1:]
    return any(_has_number(Path(line.split()[0]), number) for line in lines)


def _has_number(path: Path, number: int) -> bool:
    if not path.is_absolute():
        return False
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISBLK(found.st_mode) and found.st_rdev == number


def block_user(own: os.stat_result) -> str | None:
    """Who has a block device or file open, without any claim that the kernel would enforce.

    That is how QEMU opens the disks of its guests. A disk's partitions and a partition's disk
    count, too: they share bytes. Our own process does not.
    """
    numbers: set[int] = set()
    if stat.S_ISBLK(own.st_mode):
        whole = whole_disk(own.st_rdev)
        numbers = {own.st_rdev, *partitions(own.st_rdev), *([] if whole is None else [whole])}
    for descriptor in _descriptors():
        process = descriptor.parts[-3]
        try:
            # Only names of files are followed: pipes, sockets and the like are not disks.
            if not str(descriptor.readlink()).startswith("/"):
                continue
            found = descriptor.stat()
            if stat.S_ISBLK(found.st_mode):
                same = found.st_rdev in numbers
            else:
                same = (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
            if same:
                return f"process {process} ({(PROC / process / 'comm').read_text().strip()})"
        except OSError:
            continue  # it ended, or closed it
    return _xen_domain(numbers)


def _descriptors() -> Iterator[Path]:
    """What processes have open, without our own."""
    for process in PROC.glob("[0-9]*"):
        if process.name != str(os.getpid()):
            with suppress(OSError):  # it ended; Path.glob() would not take that
                yield from (process / "fd").iterdir()


def _xen_domain(numbers: set[int]) -> str | None:
    """The Xen guest that the kernel serves a device to (xen-blkback: no process has it open)."""
    for served in SYS.glob("bus/xen-backend/devices/vbd-*/physical_device"):
        try:
            major, _, minor = served.read_text().strip().partition(":")
        except OSError:
            continue
        if major and os.makedev(int(major, 16), int(minor, 16)) in numbers:
            return f"Xen domain {served.parent.name.split('-')[1]}"
    return None


def _loop_over(own: os.stat_result) -> Path | None:
    """The loop device that is attached to a file or block device, if one is.

    Files are told by inode, not by name: that may be of another mount namespace.
    """
    for state in SYS.glob("block/loop*/loop"):
        device = Path("/dev", state.parent.name)
        if (loop := loop_status(device)) is None:
            continue  # detached by now
        if stat.S_ISBLK(own.st_mode):
            found = loop.number == own.st_rdev
        else:
            found = loop.file == (own.st_dev, own.st_ino)
        if found:
            return device
    return None
