"""Checks that a disk is blank by reading it, and zeroes the places of signatures.

A list of formats is not enough. blkid(8) knows many, but not data that is damaged, encrypted
without a header or in a newer format, and it reports a disk that it cannot read as empty.
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
from node.files import write_at

# Signatures are within this distance of both ends of a disk. Of those in libblkid and in the
# documents of the formats, the farthest are the second header of LUKS2 (up to 4 MiB from the
# start), VMFS (2 MiB), and the RAIDs of Promise (1.6 MiB from the end).
EDGE = 8 * MIB
PIECE = 64 * 1024
# Samples of the rest: they take half a minute on a slow disk, and cover a disk of 128 MiB.
SAMPLES = 2048
_READ = MIB
_ZEROS = bytes(_READ)
# Copies of superblocks. Those of ext2 to ext4 are in these block groups (sparse_super, ext4(5)),
# whose size depends on the block size (1, 2 or 4 KiB). Those of btrfs are at fixed places
# (fs/btrfs/disk-io.h).
_EXT_GROUPS = sorted({base**power for base in (3, 5, 7) for power in range(16)})
_EXT_GROUP_SIZES = (8 * MIB, 32 * MIB, 128 * MIB)
_BTRFS = (64 * MIB, 256 * 1024 * MIB)
# xfs has one at the start of each allocation group: four groups on a single disk (mkfs.xfs(8)).
_XFS_GROUPS = 4

Region = tuple[int, int]  # start and end in bytes; the end is exclusive


def both_ends(start: int, size: int) -> list[Region]:
    """The first and the last part of a disk or partition, where signatures are."""
    end = start + size
    return [(start, min(start + EDGE, end)), (max(start, end - EDGE), end)]


def superblock_copies(size: int) -> list[Region]:
    """The places of superblock copies of file systems that fill a disk, in ascending order."""
    places = {group * number for group in _EXT_GROUP_SIZES for number in _EXT_GROUPS}
    places |= {*_BTRFS, *(size * number // _XFS_GROUPS - PIECE // 2 for number in (1, 2, 3))}
    return [(place, min(place + PIECE, size)) for place in sorted(places) if 0 <= place < size]


def sample_regions(runs: Iterable[Region], total: int) -> Iterator[Region]:
    """Samples of the written parts of a disk: the start of each run, and evenly spread pieces.

    Args:
        runs: the written parts, in ascending order.
        total: their size in bytes; small sizes are sampled completely.
    """
    step = max(PIECE, total // SAMPLES)
    for start, end in runs:
        for place in range(start, end, step):
            yield place, min(place + PIECE, end)


def first_nonzero_byte(fd: int) -> int | None:
    """The offset of a byte that is not zero; None if the disk counts as empty.

    Raises:
        OSError: a place cannot be read; the text has its offset.
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
    """Refuses a disk that does not count as empty.

    Args:
        path: the device or file.
        name: its name in errors.
        hint: the remedy if it holds something.

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
            f"{name}: cannot check whether it is empty: {error.strerror}",
            hint="see dmesg for errors of its device; remove the disk's name to leave it untouched",
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
            if error.errno == errno.ENXIO:  # only a hole up to the end
                break
            if error.errno == errno.EINVAL:  # a file system without SEEK_DATA
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
    """Where a disk that will be written may have old signatures: on itself, in its partitions."""
    partitions = layout.root.partitions if index == layout.root.disk.index else ()
    inside = [both_ends(part.offset, part.size) for part in partitions]
    return [region for found in (both_ends(0, size), *inside) for region in found]


def zero_regions(backing: Backing, regions: Iterable[Region], name: str) -> None:
    """Zeroes these parts of a disk, and syncs it.

    Parts that are zero already are not written, so that files and thin volumes stay small.

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
            f"wipe of {name}: {error.strerror}", hint="see dmesg for errors of its device"
        ) from error


def _zero(fd: int, place: int, length: int) -> None:
    try:
        if _is_zero(_read(fd, place, length)):
            return
    except OSError:
        pass  # writing may repair a bad sector; if it fails, that is an error
    write_at(fd, bytes(length), place)
