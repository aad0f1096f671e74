"""The disk's size as a foreign image's own header states it. No input or output.

QEMU's drivers do not always take that: of a VHD they use the geometry, which rounds down, by a list
of the programs that make some. What they report is compared with this, so that no end is lost.
"""

import re
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from converter.formats.foreign import (
    SECTOR,
    VHD_MAGIC,
    VHDX_SIZE,
    ForeignError,
    vhdx_metadata,
    vmdk_descriptor,
    within,
)
from converter.reading import Read

# Creators of VHDs whose disks are as large as their geometry says: Virtual PC, and QEMU before it
# had `force_size` (QEMU's block/vpc.c, at vpc_open).
_BY_GEOMETRY = (b"vpc ", b"qemu")
_LARGEST_GEOMETRY = 65535 * 16 * 255  # sectors; it stands for all that is larger, too


class Stated(NamedTuple):
    """What a header states."""

    size: int  # of the disk, bytes
    options: Mapping[str, str] = {}  # of QEMU's driver, so that it takes this size
    end: int | None = None  # where the image ends, if its file goes on: bytes


def stated(image_format: str, read: Read, size: int) -> Stated:
    """The size of an image's disk, and how QEMU is told to take it.

    Args:
        image_format: one of `formats.NAMES`; the image has passed `formats.check`.
        read: reads the file.
        size: of the file, bytes.

    Raises:
        ForeignError: the image is too short for a header, or states different sizes.
    """
    return _STATED[image_format](within(read, size), size)


def whole_sectors(size: int) -> int:
    """The size that QEMU reports for a disk of so many bytes: its drivers count sectors."""
    return size + -size % SECTOR


def _vmdk(read: Read, size: int) -> Stated:
    """The header, its copy in the footer, and the descriptor: the largest of what they state.

    The descriptor may be less than the others, which are rounded up to grains.
    """
    header = read(0, SECTOR)
    (capacity,) = struct.unpack_from("<Q", header, 12)
    if struct.unpack_from("<Q", header, 56)[0] == 2**64 - 1:
        (at_end,) = struct.unpack_from("<Q", read(size - 2 * SECTOR, SECTOR), 12)
        capacity = max(capacity, at_end)
    extents = re.findall(r"^\s*RW\s+(\d{1,20})\s+SPARSE", vmdk_descriptor(read, header), re.M)
    return Stated(max([capacity, *map(int, extents)]) * SECTOR)


def _vdi(read: Read, _size: int) -> Stated:
    return Stated(*struct.unpack("<Q", read(0x170, 8)))


def _vhdx(read: Read, _size: int) -> Stated:
    sizes = {int.from_bytes(read(place, 8), "little") for place in vhdx_metadata(read, VHDX_SIZE)}
    return Stated(_one_of(sizes))


def _vpc(read: Read, size: int) -> Stated:
    """A dynamic VHD has its footer's copy at the beginning, a fixed one has no copy."""
    first, last = read(0, SECTOR), read(size - SECTOR, SECTOR)
    footers = [part for part in (first, last) if part.startswith(VHD_MAGIC)]
    (current,) = struct.unpack_from(">Q", footers[0], 48)
    cylinders, heads, sectors = struct.unpack_from(">HBB", footers[0], 56)
    geometry = cylinders * heads * sectors
    if footers[0][28:32] in _BY_GEOMETRY and 0 < geometry != _LARGEST_GEOMETRY:
        found = Stated(geometry * SECTOR, {"force_size_calc": "chs"})
    else:
        _one_of({int.from_bytes(footer[48:56], "big") for footer in footers})
        found = Stated(current, {"force_size_calc": "current_size"})
    if footers[0] is last and found.size > size - SECTOR:
        raise ForeignError(
            f"it is truncated: its disk has {found.size} bytes, and {size - SECTOR} are there"
        )
    return found


def _qed(read: Read, _size: int) -> Stated:
    return Stated(*struct.unpack("<Q", read(48, 8)))


def _parallels(read: Read, _size: int) -> Stated:
    header = read(0, 64)
    (sectors,) = struct.unpack_from("<Q", header, 36)
    if header.startswith(b"WithoutFreeSpace"):
        sectors &= 0xFFFFFFFF  # the upper half is to be ignored
    return Stated(sectors * SECTOR)


def _one_of(sizes: set[int]) -> int:
    if len(sizes) > 1:
        raise ForeignError(f"its headers state different sizes: {sorted(sizes)} bytes")
    return sizes.pop()


_STATED: dict[str, Callable[[Read, int], Stated]] = {
    "vmdk": _vmdk,
    "vdi": _vdi,
    "vhdx": _vhdx,
    "vpc": _vpc,
    "qed": _qed,
    "parallels": _parallels,
}
