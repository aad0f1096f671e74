"""Disks without content: that they are is proven by reading; where signatures stand, it is made.

No list of formats decides: blkid(8) knows many, but not what is damaged, encrypted without a
header or newer than itself, and it takes a disk that it cannot read for an empty one.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from installer.disks.layout import Layout
from installer.settings import MIB
from node.devices.claim import Backing
from node.errors import KitError

# At both ends of a disk. Furthest in of what libblkid and the formats' documents name are the
# second header of LUKS2 (up to 4 MiB from the start), VMFS (2 MiB), and the RAIDs of Promise
# (1.6 MiB from the end).
EDGE = 8 * MIB
PIECE = 64 * 1024
# Samples of the rest: half a minute's worth for a slow disk, all of a disk of 128 MiB.
SAMPLES = 2048
_READ = MIB
_ZEROS = bytes(_READ)
# Copies of superblocks: of ext2 to ext4 in these block groups (sparse_super, ext4(5)), whose size
# depends on that of the blocks (1, 2 or 4 KiB); of btrfs at fixed places (fs/btrfs/disk-io.h).
_EXT_GROUPS = sorted({base**power for base in (3, 5, 7) for power in range(16)})
_EXT_GROUP_SIZES = (8 * MIB, 32 * MIB, 128 * MIB)
_BTRFS = (64 * MIB, 256 * 1024 * MIB)
# Of xfs, one is at the start of each allocation group: of four on a single disk (mkfs.xfs(8)).
_XFS_GROUPS = 4

Region = tuple[int, int]  # its start, and its end, which is not in it; in bytes


def both_ends(start: int, size: int) -> list[Region]:
    """The first and the last part of a disk or partition, where signatures stand."""
    end = start + size
    return [(start, min(start + EDGE, end)), (max(start, end - EDGE), end)]


def superblock_copies(size: int) -> list[Region]:
    """Where file systems that fill a disk have copies of their superblocks, in ascending order."""
    places = {group * number for group in _EXT_GROUP_SIZES for number in _EXT_GROUPS}
    places |= {*_BTRFS, *(size * number // _XFS_GROUPS - PIECE // 2 for number in (1, 2, 3))}
    return [(place, min(place + PIECE, size)) for place in sorted(places) if 0 <= place < size]


def sample_regions(runs: Iterable[Region], total: int) -> Iterator[Region]:
    """Pieces of what was written: the start of each run, and others that are spread evenly.

    Args:
        runs: what was written, in ascending order.
        total: how many bytes these are; few are read as a whole.
    """
    step = max(PIECE, total // SAMPLES)
    for start, end in runs:
        for place in range(start, end, step):
            yield place, min(place + PIECE, end)


def first_nonzero_byte(fd: int) -> int | None:
    """The first byte found that is not zero; None for a disk that counts as empty.

    Raises:
        OSError: a place cannot be read; the byte is named.
    """
    size = os.lseek(fd, 0, os.SEEK_END)
    runs = [(0, size)] if stat.S_ISBLK(os.fstat(fd).st_mode) else _written(fd, size)
    total = sum(end - start for start, end in runs)
    for region in [*both_ends(0, size), *superblock_copies(size), *sample_regions(runs, total)]:
        for place, length in _cut(region):
            data = _read(fd, place, length)
            if not _is_zero(data):
                return place + len(data) - len(data.lstrip(b"\0"))
    return None


def require_blank(path: Path, name: str, hint: str) -> None:
    """Refuses a disk that is not proven to be empty.

    Args:
        path: the device or file.
        name: what errors call it.
        hint: the remedy where it holds something.

    Raises:
        KitError: it holds something, or cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            place = first_nonzero_byte(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise KitError(
            f"{name}: whether it is empty cannot be told: {error.strerror}",
            hint="dmesg tells what became of its device; take its name away to leave it alone",
        ) from error
    if place is not None:
        raise KitError(
            f"{name}: it holds something that blkid does not know, at byte {place}", hint=hint
        )


def _written(fd: int, size: int) -> list[Region]:
    """The parts of a file that are not holes (lseek(2))."""
    runs = []
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from there on
                break
            if error.errno == errno.EINVAL:  # a file system that does not tell
                return [(0, size)]
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        runs.append((start, end))
    return runs


def _cut(region: Region) -> Iterator[tuple[int, int]]:
    start, end = region
    for place in range(start, end, _READ):
        yield place, min(_READ, end - place)


def _read(fd: int, place: int, length: int) -> bytes:
    try:
        data = os.pread(fd, length, place)
        if len(data) < length:
            raise OSError(errno.EIO, "it ends there")
    except OSError as error:
        raise OSError(error.errno, f"byte {place}: {error.strerror}") from error
    return data


def _is_zero(data: bytes) -> bool:
    return data == _ZEROS[: len(data)]  # ten times as fast as strip()


def signature_places(layout: Layout, index: int, size: int) -> list[Region]:
    """Where old signatures may stand on a disk that is written: on itself, in its partitions."""
    partitions = layout.root.partitions if index == layout.root.disk.index else ()
    inside = [both_ends(part.offset, part.size) for part in partitions]
    return [region for found in (both_ends(0, size), *inside) for region in found]


def zero_regions(backing: Backing, regions: Iterable[Region], name: str) -> None:
    """Zeros these parts of a disk, and sees to it that this is on the disk.

    What is zero already is not written, so that files and thin volumes stay small.

    Raises:
        KitError: it cannot be written.
    """
    try:
        for region in regions:
            for place, length in _cut(region):
                _zero(backing.fd, place, length)
        os.fsync(backing.fd)
    except OSError as error:
        raise KitError(
            f"wipe of {name}: {error.strerror}", hint="dmesg tells what became of its device"
        ) from error


def _zero(fd: int, place: int, length: int) -> None:
    try:
        if _is_zero(_read(fd, place, length)):
            return
    except OSError:
        pass  # writing may mend a bad sector; that it cannot be written is an error
    view = memoryview(bytes(length))
    while view:
        written = os.pwrite(fd, view, place)
        view, place = view[written:], place + written
