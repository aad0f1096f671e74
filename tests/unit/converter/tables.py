"""Makes disks with partition tables in memory."""

import struct
from collections.abc import Sequence
from uuid import UUID
from zlib import crc32

from converter.reading import Read

LINUX = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
DISK = UUID("d1d1d1d1-0000-4000-8000-00000000000d")


def reader(content: bytes | bytearray) -> Read:
    """Reads a disk in memory, and only inside of it."""

    def read(offset: int, length: int) -> bytes:
        assert offset >= 0 and length > 0 and offset + length <= len(content)
        return bytes(content[offset : offset + length])

    return read


def mbr(disk: bytearray, slots: Sequence[tuple[int, int, int]], at: int = 0) -> None:
    """Writes an MBR or EBR to sector `at`: type, start and number of sectors of each entry."""
    base = at * 512
    struct.pack_into("<I", disk, base + 440, 0xC0FFEE01)
    for index, (kind, start, count) in enumerate(slots):
        struct.pack_into("<BxxxBxxxII", disk, base + 446 + 16 * index, 0, kind, start, count)
    disk[base + 510 : base + 512] = b"\x55\xaa"


def gpt(
    disk: bytearray,
    parts: Sequence[tuple[int, int]],
    *,
    sector: int = 512,
    size: int | None = None,
    first: int | None = None,
    last: int | None = None,
) -> None:
    """Writes a GPT for a disk of `size` bytes (its real size by default); partitions in sectors."""
    end = (size or len(disk)) // sector - 1
    entries = bytearray(128 * 128)
    for number, (start, stop) in enumerate(parts):
        uuid = UUID(int=0xABC << 64 | number + 1)
        name = f"part {number + 1}".encode("utf-16-le")
        struct.pack_into(
            "<16s16sQQQ72s",
            entries,
            number * 128,
            LINUX.bytes_le,
            uuid.bytes_le,
            start,
            stop,
            0,
            name,
        )
    sectors = len(entries) // sector
    first = first or 2 + sectors
    last = last or end - sectors - 1
    for own, other, array in ((1, end, 2), (end, 1, end - sectors)):
        if (own + 1) * sector > len(disk):
            continue
        header = struct.pack(
            "<8sIIIIQQQQ16sQIII",
            *(b"EFI PART", 0x10000, 92, 0, 0, own, other, first, last),
            *(DISK.bytes_le, array, 128, 128, crc32(entries)),
        )
        header = header[:16] + struct.pack("<I", crc32(header)) + header[20:]
        disk[own * sector : own * sector + 92] = header
        disk[array * sector : array * sector + len(entries)] = entries
    mbr(disk, [(0xEE, 1, end)])
