"""Finds who uses a block device or disk file: mounts, swap, stacked devices, processes, guests."""

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
    """Who holds a block device or one of its partitions, in words: a mount, swap or a device."""
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
            # btrfs has device numbers of its own, so the source of the mount is compared, too.
            if mount.device == name or _has_number(Path(mount.source), number):
                return str(mount.point)
    return None


def _is_swap(number: int) -> bool:
    """Whether a device is active as swap (proc_swaps(5)), in any mount namespace.

    The kernel shows the path of the device as seen from our root. If it is not below our root, the
    path begins at its mount: "/sda2" instead of "/dev/sda2". So the name alone is compared, too.
    """
    name = sysfs(number).resolve().name
    for path, kind, *_ in kernel_table(processes.PROC / "swaps")[1:]:
        path = path.removesuffix(r"\040(deleted)")
        if kind == "partition" and (Path(path).name == name or _has_number(Path(path), number)):
            return True
    return False


def _has_number(path: Path, number: int) -> bool:
    # The source of a FUSE file system may be any path, also one on a server that does not answer.
    if not path.is_relative_to("/dev") or ".." in path.parts:
        return False
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISBLK(found.st_mode) and found.st_rdev == number


def is_swap_file(own: os.stat_result) -> bool:
    """Whether a file is active as swap, by the paths in proc_swaps(5)."""
    for path, *_ in kernel_table(processes.PROC / "swaps")[1:]:
        with suppress(OSError):
            if os.path.samestat(Path(processes.unescaped(path)).stat(), own):
                return True
    return False


def is_swapped_to(fd: int) -> bool:
    """Whether a file that is open for writing is active as swap, in any mount namespace.

    Linux refuses all writes to an active swap file, so this tries to write 0 bytes. XFS accepts
    these without a check (xfs_file_write_iter()): use `is_swap_file`, too.
    """
    try:
        os.write(fd, b"")
    except OSError as error:
        return error.errno == errno.ETXTBSY  # generic_write_checks() of Linux
    return False


def block_user(own: os.stat_result, *, writing: bool = False) -> str | None:
    """Which process or Xen guest has a block device or file open, in words; None if none has.

    This finds users that do not open with O_EXCL, such as QEMU. For a disk its partitions count
    as well, and for a partition its disk, because they share bytes. Our own process and the server
    of an NBD device do not count. Only the kernel's memory is read, because a file system on which
    a process has files open may hang.

    Args:
        own: the status of the device or file.
        writing: whether only users that may write count.
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
            # Skip pipes, sockets and the like, whose links are not paths.
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
            continue  # it has ended or closed the file
    return _xen_domain(numbers)


def _nbd_thread(number: int) -> str | None:
    """The thread that serves an NBD device and has it open (drivers/block/nbd.c of Linux)."""
    try:
        return (sysfs(number) / "pid").read_text().strip()
    except OSError:
        return None


def _xen_domain(numbers: set[int]) -> str | None:
    """The Xen guest that uses a device by the kernel's xen-blkback: no process has it open then."""
    for served in SYS.glob("bus/xen-backend/devices/vbd-*/physical_device"):
        try:
            major, _, minor = served.read_text().strip().partition(":")
        except OSError:
            continue
        if major and os.makedev(int(major, 16), int(minor, 16)) in numbers:
            return f"Xen domain {served.parent.name.split('-')[1]}"
    return None


def loop_over(own: os.stat_result, *, writing: bool = False) -> str | None:
    """The loop device attached to a file or block device, and its mount, in words; None if none.

    Files are compared by inode, since a name may be of another mount namespace.

    Args:
        own: the status of the device or file.
        writing: whether only loop devices that may write count.
    """
    for state in SYS.glob("block/loop*/loop"):
        device = Path("/dev", state.parent.name)
        if (loop := loop_status(device)) is None or (writing and loop.read_only):
            continue  # detached meanwhile, or not to be counted
        if stat.S_ISBLK(own.st_mode):
            found = loop.number == own.st_rdev
        else:
            found = loop.file == (own.st_dev, own.st_ino)
        if found:
            place = _mounted_on(device.stat().st_rdev)
            return f"{device}{f', which is mounted on {place}' if place else ''}"
    return None
