"""Block devices and disk files: their size, who holds them, and opening them for us alone."""

import errno
import fcntl
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from node.devices import qemu_locks
from node.devices.settling import InUseError, settled
from node.devices.stack import SYS, loop_status, partitions, stacked_on, sysfs, whole_disk
from node.errors import KitError
from node.files import kernel_table, kernel_text
from node.isolation.namespace import outer_proc
from node.syscalls import cached_status

SECTOR = 512
BLKROGET = 0x125E  # linux/fs.h; Python has no name for it
PROC = Path("/proc")
HINT = "gnt-cluster verify-disks and gnt-instance info tell what Ganeti knows of it"


@dataclass(frozen=True)
class Backing:
    """A disk opened for us alone: its path, its size in bytes, and the descriptor that holds it."""

    path: Path
    size: int
    fd: int
    is_block: bool


def disk_size(path: Path) -> int:
    """The size of a block device or disk file, in bytes.

    Raises:
        OSError: it cannot be opened, or is neither; a FIFO is not waited for.
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
def claimed(path: Path, *, name: str | None = None) -> Iterator[Backing]:
    """Opens a block device or disk file for writing, for us alone, and syncs it at the end.

    A block device is opened O_EXCL, which the kernel refuses while it is mounted anywhere, used
    as swap, or held by device mapper, md or another O_EXCL opener (open(2)). QEMU claims no device
    that way: both devices and files are locked as QEMU locks them, and must not be open in any
    other process. Loop devices do none of that, so they are looked up.

    Args:
        path: the device or file.
        name: what errors call it.

    Raises:
        KitError: it is missing, of another kind, read-only or in use; the holder is named.
    """
    name = name or f"disk {path}"
    hint = "stop the instance, or unmount or detach it, then try again"
    backing = settled(lambda: _open_once(path, name), name, hint)
    try:
        yield backing
        try:
            os.fsync(backing.fd)
        except OSError as error:
            raise KitError(
                f"flush of {path}: {error.strerror}", hint="dmesg tells what became of its device"
            ) from error
    finally:
        os.close(backing.fd)


def open_disk(path: Path, flags: int, name: str, hint: str) -> int:
    """Opens a block device or file, with O_EXCL in `flags` for nobody else.

    Raises:
        InUseError: the kernel refuses O_EXCL.
        KitError: it cannot be opened; `hint` is for what is not known to have another remedy.
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


def _open_once(path: Path, name: str) -> Backing:
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
        if user := block_user(os.fstat(fd)):
            raise InUseError(f"{user} has it open")
        if is_block:
            _require_writable(path, fd, name)
        elif _is_swapped_to(fd) or is_swap_file(os.fstat(fd)):
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
            f"{name}: the device is read-only", hint=f"blockdev --setrw {path}, if it may be"
        )


def _lock(fd: int, name: str) -> None:
    try:
        locked = qemu_locks.lock_whole(fd)
    except OSError as error:
        raise KitError(
            f"{name}: whether it is in use cannot be told: its file system takes no locks:"
            f" {error.strerror}",
            hint="use a file system with working locks; of NFS: is rpc.statd running?",
        ) from error
    if not locked:
        raise InUseError("a process holds a lock on it (a running QEMU, perhaps on another node)")


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
    for process in _processes():
        try:
            mounts = kernel_table(process / "mountinfo")
        except OSError:
            continue
        for mount in mounts:
            # btrfs has device numbers of its own, so the source of the mount (the second field
            # behind the dash, proc_pid_mountinfo(5)) counts, too.
            source = Path(mount[mount.index("-") + 2])
            if mount[2] == name or _has_number(source, number):
                return mount[4]
    return None


def _is_swap(number: int) -> bool:
    """Whether a device is active as swap (proc_swaps(5)), in whatever mount namespace it became so.

    The kernel shows its path as the root that we have leads to it, and of the mount alone where
    none does: "/dev/sda2" is "/sda2" then. So its name counts, too.
    """
    name = sysfs(number).resolve().name
    for path, kind, *_ in kernel_table(PROC / "swaps")[1:]:
        path = path.removesuffix(r"\040(deleted)")
        if kind == "partition" and (Path(path).name == name or _has_number(Path(path), number)):
            return True
    return False


def _is_swapped_to(fd: int) -> bool:
    """Whether a file that is open for writing is active as swap, wherever its path leads to.

    Linux lets nobody write to it then: nothing is written, so nothing but that is asked. XFS does
    not look where there is nothing to write (xfs_file_write_iter()): see `is_swap_file`.
    """
    try:
        os.write(fd, b"")
    except OSError as error:
        return error.errno == errno.ETXTBSY  # generic_write_checks() of Linux
    return False


def _has_number(path: Path, number: int) -> bool:
    # What a FUSE file system says of its source may lead anywhere, also to a server that is gone.
    if not path.is_relative_to("/dev") or ".." in path.parts:
        return False
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISBLK(found.st_mode) and found.st_rdev == number


def is_swap_file(own: os.stat_result) -> bool:
    """Whether the kernel swaps to a file, by the paths that it tells."""
    for path, *_ in kernel_table(PROC / "swaps")[1:]:
        # What a name may not have stands in octal: proc(5), of mounts.
        name = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
        with suppress(OSError):
            if os.path.samestat(Path(name).stat(), own):
                return True
    return False


def block_user(own: os.stat_result, *, writing: bool = False) -> str | None:
    """Who has a block device or file open, without any claim that the kernel would enforce.

    That is how QEMU opens the disks of its guests. A disk's partitions and a partition's disk
    count, too: they share bytes. Our own process does not, nor does the one that serves an NBD
    device. With `writing`, only those count that may write. No file system is asked: one of those
    on which processes have files open may not answer any more.
    """
    numbers: set[int] = set()
    servers: set[str] = set()
    if stat.S_ISBLK(own.st_mode):
        whole = whole_disk(own.st_rdev)
        numbers = {own.st_rdev, *partitions(own.st_rdev), *([] if whole is None else [whole])}
        servers = {served for number in numbers if (served := _nbd_thread(number))}
    for descriptor in _descriptors():
        process = descriptor.parents[1]
        try:
            # Only names of files are followed: pipes, sockets and the like are not disks.
            if not str(descriptor.readlink()).startswith("/"):
                continue
            found = cached_status(descriptor)
            if stat.S_ISBLK(found.st_mode):
                same = found.st_rdev in numbers
            else:
                same = (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
            if not same or (writing and not _may_write(descriptor)):
                continue
            if not any((process / "task" / thread).exists() for thread in servers):
                return f"process {process.name} ({kernel_text(process / 'comm').strip()})"
        except OSError:
            continue  # it ended, or closed it
    return _xen_domain(numbers)


def _processes() -> Iterator[Path]:
    """Where proc(5) tells of each process of the node."""
    yield from (outer_proc() or PROC).glob("[0-9]*")


def _descriptors() -> Iterator[Path]:
    """What processes have open, without our own."""
    outside = outer_proc()
    own = (outside / "self").readlink().name if outside else str(os.getpid())
    for process in _processes():
        if process.name != own:
            with suppress(OSError):  # it ended; Path.glob() would not take that
                yield from (process / "fd").iterdir()


def _may_write(descriptor: Path) -> bool:
    """By the flags in proc(5)'s fdinfo, which are octal."""
    told = (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text()
    flags = re.search(r"^flags:\s*([0-7]+)$", told, re.M)
    return flags is None or int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY


def _nbd_thread(number: int) -> str | None:
    """The thread that serves an NBD device (drivers/block/nbd.c of Linux): it has that open."""
    try:
        return (sysfs(number) / "pid").read_text().strip()
    except OSError:
        return None


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


def loop_over(own: os.stat_result, *, writing: bool = False) -> str | None:
    """The loop device that is attached to a file or block device, if one is, and its mount.

    Files are told by inode, not by name: that may be of another mount namespace. With `writing`,
    only those count that may write.
    """
    for state in SYS.glob("block/loop*/loop"):
        device = Path("/dev", state.parent.name)
        if (loop := loop_status(device)) is None or (writing and loop.read_only):
            continue  # detached by now
        if stat.S_ISBLK(own.st_mode):
            found = loop.number == own.st_rdev
        else:
            found = loop.file == (own.st_dev, own.st_ino)
        if found:
            place = _mounted_on(device.stat().st_rdev)
            return f"{device}{f', which is mounted on {place}' if place else ''}"
    return None
