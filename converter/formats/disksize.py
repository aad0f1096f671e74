"""The disk's size as a foreign image's own header states it. No input or output.

QEMU's drivers do not always use that. For a VHD of some programs they use the geometry, which is
rounded down. The size that QEMU reports is compared with this one, so that no end is lost.
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
_LARGEST_GEOMETRY = 65535 * 16 * 255  # sectors; larger disks have this geometry, too


class Stated(NamedTuple):
    """The size that a header states."""

    size: int  # of the disk, bytes
    options: Mapping[str, str] = {}  # for QEMU's driver, so that it uses this size
    end: int | None = None  # where the image ends, if its file is longer; bytes


def stated(image_format: str, read: Read, size: int) -> Stated:
    """The size of an image's disk, and the driver options that make QEMU use it.

    Args:
        image_format: one of `foreign.NAMES`; the image has passed `foreign.check`.
        read: reads the file.
        size: of the file, bytes.

    Raises:
        ForeignError: the image is too short for a header, or states different sizes.
    """
    return _STATED[image_format](within(read, size), size)


def whole_sectors(size: int) -> int:
    """A size rounded up to whole sectors, as QEMU's drivers report it; bytes."""
    return size + -size % SECTOR


def _vmdk(read: Read, size: int) -> Stated:
    """The largest size that the header, its copy in the footer, and the descriptor state.

    The descriptor may state less than the headers, which are rounded up to grains.
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
    """A dynamic VHD has a copy of its footer at the beginning; a fixed VHD has none."""
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
            f"it is truncated: its disk has {found.size} bytes, but the file only {size - SECTOR}"
        )
    return found


def _qed(read: Read, _size: int) -> Stated:
    return Stated(*struct.unpack("<Q", read(48, 8)))


def _parallels(read: Read, _size: int) -> Stated:
    header = read(0, 64)
    (sectors,) = struct.unpack_from("<Q", header, 36)
    if header.startswith(b"WithoutFreeSpace"):
        sectors &= 0xFFFFFFFF  # the specification says to ignore the upper half
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
