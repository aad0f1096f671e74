"""Who holds or uses a block device or disk file: mounts, swap, devices above, processes, guests."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from node import processes
from node.devices.stack import SYS, loop_status, partitions, stacked_on, sysfs, whole_disk
from node.files import kernel_table, kernel_text
from node.syscalls import cached_status


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
    for process in processes.of_the_node():
        try:
            found = processes.mounts(kernel_text(process / "mountinfo"))
        except OSError:
            continue
        for mount in found:
            # btrfs has device numbers of its own, so the source of the mount counts, too.
            if mount.device == name or _has_number(Path(mount.source), number):
                return str(mount.point)
    return None


def _is_swap(number: int) -> bool:
    """Whether a device is active as swap (proc_swaps(5)), in whatever mount namespace it became so.

    The kernel shows its path as the root that we have leads to it, and of the mount alone where
    none does: "/dev/sda2" is "/sda2" then. So its name counts, too.
    """
    name = sysfs(number).resolve().name
    for path, kind, *_ in kernel_table(processes.PROC / "swaps")[1:]:
        path = path.removesuffix(r"\040(deleted)")
        if kind == "partition" and (Path(path).name == name or _has_number(Path(path), number)):
            return True
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
    for path, *_ in kernel_table(processes.PROC / "swaps")[1:]:
        with suppress(OSError):
            if os.path.samestat(Path(processes.unescaped(path)).stat(), own):
                return True
    return False


def is_swapped_to(fd: int) -> bool:
    """Whether a file that is open for writing is active as swap, wherever its path leads to.

    Linux lets nobody write to it then: nothing is written, so nothing but that is asked. XFS does
    not look where there is nothing to write (xfs_file_write_iter()): see `is_swap_file`.
    """
    try:
        os.write(fd, b"")
    except OSError as error:
        return error.errno == errno.ETXTBSY  # generic_write_checks() of Linux
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
    for descriptor in processes.descriptors():
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
            if not same or (writing and not processes.may_write(descriptor)):
                continue
            if not any((process / "task" / thread).exists() for thread in servers):
                return f"process {process.name} ({processes.command(process)})"
        except OSError:
            continue  # it ended, or closed it
    return _xen_domain(numbers)


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
