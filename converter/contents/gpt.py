"""GUID partition tables (UEFI specification, 5.3): read, and adapted to a larger disk. Pure."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

from converter.extents import Extent, Kind
from converter.reading import Read, Window

SIGNATURE = b"EFI PART"
SECTORS = (512, 4096)  # the sector sizes of disks, bytes
MBR_SIZE = 512
MBR_ENTRIES = 446  # the offset of the four entries of 16 bytes each
PROTECTIVE = 0xEE
MAX_ENTRIES = 1 << 20  # bytes; tools make 16 KiB
MIN_HEADER = 92

# Signature, revision, header's size and CRC, reserved, own and other header's sector, first and
# last sector for partitions, the disk's GUID, the entries' sector, number, size and CRC.
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
# An entry: type, the partition's GUID, first and last sector, attributes, name.
_ENTRY = struct.Struct("<16s16sQQQ72s")
_LAST = 40  # the offset of the last sector in it


@dataclass(frozen=True)
class Entry:
    """An entry of the table; `first` and `last` are sectors, both included."""

    number: int
    type: UUID
    uuid: UUID
    first: int
    last: int
    name: str


@dataclass(frozen=True)
class Header:
    """A header with correct CRCs of itself and its entries; all offsets are in sectors."""

    sector: int  # size of a sector, bytes
    own: int  # its own sector
    other: int  # the sector of the other copy, as this one states it
    first: int  # of the area for partitions
    last: int
    uuid: UUID
    array: int  # where the entries begin
    size: int  # bytes of an entry
    block: bytes  # the whole sector
    raw_entries: bytes

    @property
    def array_sectors(self) -> int:
        """The number of sectors that the entries occupy."""
        return -(-len(self.raw_entries) // self.sector)

    def entries(self) -> Iterator[Entry]:
        """The entries in use."""
        for number, offset in enumerate(range(0, len(self.raw_entries), self.size), 1):
            kind, uuid, first, last, _, name = _ENTRY.unpack_from(self.raw_entries, offset)
            if any(kind):
                text = name.decode("utf-16-le", "replace").partition("\0")[0]
                yield Entry(number, UUID(bytes_le=kind), UUID(bytes_le=uuid), first, last, text)

    def with_ends(self, ends: Mapping[int, int]) -> "Header":
        """The same table, but partitions, by their numbers, have other last sectors."""
        entries = bytearray(self.raw_entries)
        for number, last in ends.items():
            struct.pack_into("<Q", entries, (number - 1) * self.size + _LAST, last)
        return replace(self, raw_entries=bytes(entries))

    def packed(self) -> bytes:
        """The header's sector with its current offsets and matching CRCs."""
        fields = list(_HEADER.unpack_from(self.block))
        length = fields[2]
        fields[3] = 0
        fields[5:9] = self.own, self.other, self.first, self.last
        fields[10] = self.array
        fields[13] = crc32(self.raw_entries)
        block = bytearray(self.block)
        _HEADER.pack_into(block, 0, *fields)
        struct.pack_into("<I", block, 16, crc32(block[:length]))
        return bytes(block)


class Copies(NamedTuple):
    """The undamaged copies of a table: at least one of the two."""

    primary: Header | None
    backup: Header | None

    @property
    def good(self) -> Header:
        """The copy to use: the primary, unless it is damaged."""
        header = self.primary or self.backup
        assert header is not None
        return header


class Repair(NamedTuple):
    """What to write; nothing, if the table is doubtful. `why` explains it in words."""

    extents: tuple[Extent, ...]
    why: str


def is_protective(mbr: bytes) -> bool:
    """Whether an MBR says that there is a GPT."""
    return mbr[510:512] == b"\x55\xaa" and any(mbr[slot + 4] == PROTECTIVE for slot in _slots())


def copies(read: Read, size: int) -> Copies | None:
    """Both copies of a disk's GPT, if at least one is undamaged; ignores the MBR."""
    for sector in SECTORS:
        end = size // sector
        primary = header_at(read, size, sector, 1)
        # The primary states where the backup is; if the primary is lost, it is at the disk's end.
        backup = header_at(read, size, sector, primary.other if primary else end - 1)
        if primary or backup:
            return Copies(primary, backup)
    return None


def header_at(read: Read, size: int, sector: int, place: int) -> Header | None:
    """The header in sector `place`; None if there is none, or it or its entries are damaged."""
    end = size // sector
    if not 1 <= place < end:
        return None
    disk = Window(read, 0, size)
    block = disk.at(place * sector, sector)
    fields = _HEADER.unpack_from(block)
    signature, _, length, crc, _, own, other, first, last, uuid, array, count, each, sum_ = fields
    if signature != SIGNATURE or not MIN_HEADER <= length <= sector or own != place:
        return None
    if crc32(block[:16] + bytes(4) + block[20:length]) != crc:
        return None
    # An entry is 128 bytes times a power of two.
    if each < _ENTRY.size or each & (each - 1) or not 0 < count * each <= MAX_ENTRIES:
        return None
    sectors = -(-count * each // sector)
    if not (1 < array <= end - sectors and 1 < first <= last < end and other < 1 << 63):
        return None
    if array <= place < array + sectors or not (array + sectors <= first or array > last):
        return None
    entries = disk.at(array * sector, count * each)
    if crc32(entries) != sum_:
        return None
    uuid = UUID(bytes_le=uuid)
    return Header(sector, own, other, first, last, uuid, array, each, block, entries)


def repaired(
    read: Read, size: int, target_size: int, ends: Mapping[int, int] | None = None
) -> Repair | None:
    """The replacements that make a disk's GPT correct on a target of another size.

    The backup moves to the target's end, and the primary and the protective MBR are adapted. A
    damaged copy is made anew from the other. Partitions and their entries stay unchanged, except
    for `ends`. The extents are in order and do not overlap; some are beyond the source's end.

    Args:
        read: reads the source.
        size: of the source, bytes.
        target_size: bytes.
        ends: new last sectors of partitions, by their numbers.

    Returns:
        None if there is no GPT, or the target has the size of the source.
    """
    mbr = Window(read, 0, size).at(0, MBR_SIZE)
    if target_size == size or not is_protective(mbr):
        return None
    found = copies(read, size)
    if found is None:
        return Repair((), "GPT: both its copies are damaged; left as it is")
    if ends:
        found = Copies(*(header and header.with_ends(ends) for header in found))
    if doubt := _doubt(found, size, target_size):
        return Repair((), f"GPT: {doubt}; left as it is")
    good = found.good
    sector = good.sector
    end = target_size // sector - 1
    array = end - good.array_sectors
    base = replace(good, last=array - 1)
    primary = replace(base, own=1, other=end, array=_primary_array(found))
    backup = replace(base, own=end, other=1, array=array)

    extents = [_literal(1 * sector, primary.packed())]
    if new_mbr := _grown(mbr, end):
        extents.insert(0, _literal(0, new_mbr))
    if found.primary is None or ends:
        extents.append(_literal(primary.array * sector, good.raw_entries))
    if found.backup is not None:
        extents += _forgotten(found.backup, good.last, array)
    padded = good.raw_entries.ljust(good.array_sectors * sector, b"\0")
    extents.append(_literal(array * sector, padded + backup.packed()))
    damaged = "primary" if found.primary is None else "backup" if found.backup is None else None
    made = f"; its damaged {damaged} copy is made anew" if damaged else ""
    return Repair(tuple(extents), f"GPT: its backup goes to the target's end{made}")


def _primary_array(found: Copies) -> int:
    return found.primary.array if found.primary else 2  # as the specification says


def _doubt(found: Copies, size: int, target_size: int) -> str | None:
    """Why a table must not be changed; None if it may be."""
    good = found.good
    one, two = found
    if one and two and (one.uuid, one.raw_entries) != (two.uuid, two.raw_entries):
        return "its two copies differ"
    used = sorted((entry.first, entry.last) for entry in good.entries())
    if any(not good.first <= first <= last <= good.last for first, last in used):
        return "a partition is outside of the area for partitions"
    if any(one[1] >= two[0] for one, two in pairwise(used)):
        return "partitions overlap"
    end = target_size // good.sector - 1
    # On a smaller target, the area for partitions ends with the last of them at most.
    last = good.last if target_size > size else max([good.first, *(last for _, last in used)])
    if end - good.array_sectors - 1 < last:
        return "on the target its backup would overlap the area for partitions"
    array = _primary_array(found)
    if array < 2 or array + good.array_sectors > good.first:
        return "its entries are not between the header and the area for partitions"
    return None


def _slots() -> range:
    return range(MBR_ENTRIES, MBR_ENTRIES + 64, 16)


def _grown(mbr: bytes, end: int) -> bytes | None:
    """The protective MBR for a disk whose last sector is `end`; None for a hybrid one."""
    used = [slot for slot in _slots() if mbr[slot + 4]]
    if len(used) != 1 or struct.unpack_from("<I", mbr, used[0] + 8) != (1,):
        return None
    changed = bytearray(mbr)
    struct.pack_into("<I", changed, used[0] + 12, min(end, 0xFFFFFFFF))
    return bytes(changed)


def _forgotten(backup: Header, last: int, upto: int) -> list[Extent]:
    """Zeros over the old backup, between the area for partitions and sector `upto`.

    Otherwise a second, outdated table would remain on the disk.
    """
    header = (backup.own, backup.own + 1)
    array = (backup.array, backup.array + backup.array_sectors)
    cut = [(max(first, last + 1), min(end, upto)) for first, end in sorted((array, header))]
    return [
        Extent(first * backup.sector, (end - first) * backup.sector, Kind.ZERO)
        for first, end in cut
        if first < end
    ]


def _literal(start: int, content: bytes) -> Extent:
    return Extent(start, len(content), Kind.LITERAL, literal=content)
