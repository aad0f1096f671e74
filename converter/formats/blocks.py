"""Checks that a file has all blocks that its tables map: VHD, VHDX, QED. No input or output.

QEMU rounds a file's size up to sectors, or reads missing parts as zeros. What follows the last
block is ignored: tools append to files, and block devices are larger than their image.
"""

import struct
from collections.abc import Callable

from converter.formats.foreign import (
    MOST_CLUSTERS,
    SECTOR,
    VHD_MAGIC,
    VHDX_BAT,
    VHDX_PARAMETERS,
    VHDX_SECTOR,
    VHDX_SIZE,
    ForeignError,
    require,
    vhdx_metadata,
    vhdx_regions,
    within,
    words,
)
from converter.reading import Read

_UNUSED = 0xFFFFFFFF  # an entry of a VHD's table
_MOST_ENTRIES = 1 << 28  # of a QED image's tables: 16 TiB with the usual clusters of 64 KiB


def check(image_format: str, read: Read, size: int) -> None:
    """Checks that an image's file does not end before its last block.

    Args:
        image_format: one of `foreign.NAMES`; the image has passed `foreign.check`.
        read: reads the file.
        size: of the file, bytes.

    Raises:
        ForeignError: it is truncated, or its tables are damaged.
    """
    if image_format in _CHECKS:
        _CHECKS[image_format](within(read, size), size)


def _check_vpc(read: Read, size: int) -> None:
    """A dynamic VHD has its footer after the last block, and a copy of it at the beginning."""
    first = read(0, SECTOR)
    if not first.startswith(VHD_MAGIC):
        return
    end = _end_of_vhd(read, first)
    require(end + SECTOR, size)
    if not any(read(place, 8) == VHD_MAGIC for place in (end, size - SECTOR)):
        raise ForeignError("it is damaged: there is no footer behind its last block")


def _end_of_vhd(read: Read, footer: bytes) -> int:
    """The end of the last block or of the tables, bytes ("Dynamic Disk Header Format").

    A block is a bitmap, in whole sectors, followed by its data.
    """
    (at,) = struct.unpack_from(">Q", footer, 16)
    header = read(at, 1024)
    table, _version, entries, block = struct.unpack_from(">QIII", header, 16)
    whole = block > 0 and block % SECTOR == 0
    if not (header.startswith(b"cxsparse") and entries <= MOST_CLUSTERS and whole):
        raise ForeignError("its vpc header is damaged")
    bitmap = -(-block // SECTOR // 8)
    used = (each for each in words(read, table, entries, ">I") if each != _UNUSED)
    data = max((each * SECTOR + bitmap + -bitmap % SECTOR + block for each in used), default=0)
    tables = table + entries * 4
    return int(max(at + 1024, tables + -tables % SECTOR, data))


def _check_vhdx(read: Read, size: int) -> None:
    """[MS-VHDX] 2.5 and 2.6; both copies of the tables are checked."""
    items = [vhdx_metadata(read, guid) for guid in (VHDX_PARAMETERS, VHDX_SIZE, VHDX_SECTOR)]
    for bat, *places in zip(vhdx_regions(read, VHDX_BAT), *items, strict=True):
        block, disk, sector = (
            int.from_bytes(read(place, length), "little")
            for place, length in zip(places, (4, 8, 4), strict=True)
        )
        require(_end_of_vhdx(read, bat, block, disk, sector), size)


def _end_of_vhdx(read: Read, bat: int, block: int, disk: int, sector: int) -> int:
    """The end of the last block, bytes.

    An entry has 3 bits of state (6 and 7: data), and the offset in MiB. After the entries for 2^23
    sectors comes one for a bitmap, which only differencing disks have. QEMU writes no more of the
    last block than the disk has.
    """
    sound = block.bit_count() == 1 and 1 << 20 <= block <= 256 << 20 and sector in (512, 4096)
    blocks = -(-disk // block) if sound else 0
    if not sound or blocks > MOST_CLUSTERS:
        raise ForeignError("its vhdx metadata is damaged")
    ratio = (sector << 23) // block
    end = 0
    for index, entry in enumerate(words(read, bat, blocks + (blocks - 1) // ratio, "<Q")):
        if entry & 6 == 6 and index % (ratio + 1) != ratio:
            number = index - index // (ratio + 1)
            end = max(end, (entry >> 20 << 20) + min(block, disk - number * block))
    return end


def _check_qed(read: Read, size: int) -> None:
    """QEMU's docs/interop/qed_spec.txt: tables of 64-bit offsets; 1 stands for zeros."""
    cluster, clusters = struct.unpack("<II", read(4, 8))
    (directory,) = struct.unpack("<Q", read(40, 8))
    sound = cluster.bit_count() == 1 and 4096 <= cluster <= 64 << 20 and 1 <= clusters <= 16
    if not sound:
        raise ForeignError("its qed header is damaged")
    entries = cluster * clusters // 8
    end = 0
    tables: set[int] = set()
    for table in words(read, directory, entries, "<Q"):
        if not table or table in tables:  # a table may be named many times: check it once
            continue
        tables.add(table)
        if table % cluster:
            raise ForeignError(f"its qed tables are damaged: no table can begin at byte {table}")
        if len(tables) * entries > _MOST_ENTRIES:
            raise ForeignError(f"its qed tables have more than {_MOST_ENTRIES} entries")
        last = max(words(read, table, entries, "<Q"))
        end = max(end, table + entries * 8, last + cluster if last > 1 else 0)
    require(end, size)


_CHECKS: dict[str, Callable[[Read, int], None]] = {
    "vpc": _check_vpc,
    "vhdx": _check_vhdx,
    "qed": _check_qed,
}
