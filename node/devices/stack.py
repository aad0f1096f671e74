"""Which block device is built on which: partitions, disks, device mapper, loop devices, files."""

import fcntl
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

LOOP_GET_STATUS64 = 0x4C05
LOOP_INFO_SIZE = 232  # struct loop_info64 of linux/loop.h: lo_device, lo_inode, lo_rdevice, …
LO_FLAGS_READ_ONLY = 1
SYS = Path("/sys")

# A block device, by number; or a file, by its device and inode.
BackingId = int | tuple[int, int]


def sysfs(number: int) -> Path:
    """The directory below /sys of the block device with this number."""
    return SYS / f"dev/block/{os.major(number)}:{os.minor(number)}"


def sectors_changed(number: int) -> tuple[int, int] | None:
    """How many sectors of a device were written and discarded since it exists, by all programs.

    What is still in the page cache does not count. None: the kernel does not count for it.
    """
    try:
        fields = [int(field) for field in (sysfs(number) / "stat").read_text().split()]
    except (OSError, ValueError):
        return None
    # The kernel's Documentation/block/stat.rst; discards are counted since Linux 4.18.
    return (fields[6], fields[13]) if len(fields) > 13 else None


def stacked_on(number: int) -> list[str]:
    """The names of the devices built on this one: device mapper, md, bcache, DRBD."""
    holders = sysfs(number) / "holders"
    return sorted(entry.name for entry in holders.iterdir()) if holders.is_dir() else []


def partitions(number: int) -> list[int]:
    """The device numbers of a disk's partitions, as far as the kernel knows them."""
    entries = sysfs(number).resolve().glob("*/partition")
    return sorted(_number(entry.with_name("dev")) for entry in entries)


def whole_disk(number: int) -> int | None:
    """The device number of the disk that a partition is on; None if `number` is no partition."""
    own = sysfs(number).resolve()
    return _number(own.parent / "dev") if (own / "partition").exists() else None


def _number(dev: Path) -> int:
    major, _, minor = dev.read_text().strip().partition(":")
    return os.makedev(int(major), int(minor))


@dataclass(frozen=True)
class Loop:
    """What a loop device is attached to: a file or block device, or `size` bytes of it (0: all)."""

    file: tuple[int, int]  # its device and inode
    number: int  # of the block device, or 0
    offset: int
    size: int
    read_only: bool = False


def loop_status(device: Path) -> Loop | None:
    """What a loop device is attached to (loop(4)); None if it is not, or is no loop device."""
    status = bytearray(LOOP_INFO_SIZE)
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, LOOP_GET_STATUS64, status)
        finally:
            os.close(fd)
    except OSError:
        return None
    file_device, inode, number, offset, size, flags = struct.unpack_from("=5Q12xI", status)
    return Loop((file_device, inode), number, offset, size, bool(flags & LO_FLAGS_READ_ONLY))


def backing_id(own: os.stat_result) -> BackingId:
    """The device or file that a status is of."""
    return own.st_rdev if stat.S_ISBLK(own.st_mode) else (own.st_dev, own.st_ino)


def backing_chain(top: BackingId) -> set[BackingId]:
    """All devices and files that hold bytes of a file or device, itself included.

    These are the disk of a partition, the members of device mapper and md devices, the backing
    file of a loop device, and the device of a file's file system. The search ends at file systems
    without such a device: network, overlay, and btrfs, which has device numbers of its own.
    """
    found: set[BackingId] = set()
    todo = [top]
    while todo:
        current = todo.pop()
        if current not in found:
            found.add(current)
            todo += _directly(current)
    return found


def _directly(current: BackingId) -> list[BackingId]:
    if isinstance(current, tuple):
        device, _ = current
        return [device] if os.major(device) else []
    own = sysfs(current)
    below: list[BackingId] = [_number(slave) for slave in own.glob("slaves/*/dev")]
    if (whole := whole_disk(current)) is not None:
        below.append(whole)
    if (own / "loop").exists() and (loop := loop_status(Path("/dev", own.resolve().name))):
        below.append(loop.number or loop.file)
    return below
