"""Partition tables: MBR with logical partitions, and GPT. Pure.

Only valid partitions are used: they lie within the disk, and overlap neither each other nor a
partition table. All others are named in a warning.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from converter.contents import gpt
from converter.contents.superblocks import is_boot_sector_of_file_system
from converter.reading import Read, Window

SECTOR = 512  # bytes; of MBR tables
EXTENDED = (0x05, 0x0F, 0x85)
MAX_LOGICAL = 256  # partitions; the rest of a longer chain is ignored


class Partition(NamedTuple):
    """A valid partition; bytes."""

    number: int
    start: int
    length: int
    type: str  # 0x83, or a GUID in lower case
    uuid: str  # its PARTUUID
    name: str = ""  # its PARTLABEL

    @property
    def end(self) -> int:
        """The offset of the first byte after it."""
        return self.start + self.length


@dataclass(frozen=True)
class Table:
    """A partition table; its partitions in the order of their numbers."""

    kind: str  # dos or gpt
    sector: int  # size of a sector, bytes
    uuid: str  # of the disk: a GUID, or the 8 digits of an MBR
    partitions: tuple[Partition, ...]
    warnings: tuple[str, ...] = ()


class _Range(NamedTuple):
    """A range of a disk, bytes: a partition, or a table (then `partition` is None)."""

    start: int
    end: int
    what: str
    partition: Partition | None = None


class _Slot(NamedTuple):
    """An entry in use of an MBR or EBR; sectors."""

    number: int
    type: int
    start: int
    sectors: int


def table(read: Read, size: int) -> Table | None:
    """The partition table of a disk of `size` bytes, or None if there is none."""
    disk = Window(read, 0, size)
    mbr = disk.at(0, SECTOR)
    if gpt.is_protective(mbr) and not is_boot_sector_of_file_system(mbr):
        found = gpt.copies(read, size)
        if found is None:
            return Table("gpt", SECTOR, "", (), ("GPT: both its copies are damaged",))
        return _gpt(found, size)
    slots = _slots(mbr)
    if not slots or is_boot_sector_of_file_system(mbr):
        return None
    return _mbr(disk, slots, f"{struct.unpack_from('<I', mbr, 440)[0]:08x}")


def with_sectors(mbr: bytes, number: int, sectors: int) -> bytes:
    """An MBR whose partition of this number, 1 to 4, has so many sectors.

    Its last cylinder, head and sector become those that say "use the sectors instead".
    """
    changed = bytearray(mbr)
    entry = gpt.MBR_ENTRIES + 16 * (number - 1)
    changed[entry + 5 : entry + 8] = b"\xfe\xff\xff"
    struct.pack_into("<I", changed, entry + 12, sectors)
    return bytes(changed)


def _gpt(found: gpt.Copies, size: int) -> Table:
    header = found.good
    sector = header.sector
    area = _Range(header.first * sector, (header.last + 1) * sector, "the area for partitions")
    warnings = []
    if found.primary is None:
        warnings.append("GPT: its primary copy is damaged; the backup is used")
    if found.backup is None:
        warnings.append("GPT: its backup copy is damaged or missing")
    elif header.sector * (found.backup.own + 1) != size - size % sector:
        warnings.append("GPT: its backup copy is not at the disk's end")
    claims = []
    for entry in header.entries():
        start, end = entry.first * sector, (entry.last + 1) * sector
        partition = Partition(
            entry.number, start, end - start, str(entry.type), str(entry.uuid), entry.name
        )
        claims.append(_Range(start, end, f"partition {entry.number}", partition))
    good, doubts = _apart(claims, area)
    return Table("gpt", sector, str(header.uuid), _partitions(good), (*warnings, *doubts))


def _mbr(disk: Window, slots: list[_Slot], uuid: str) -> Table:
    claims = [_Range(0, SECTOR, "the partition table")]
    containers = []
    for slot in slots:
        if slot.type in EXTENDED:
            containers.append(_range(slot, f"extended partition {slot.number}"))
        else:
            claims.append(_partition(slot.number, slot, uuid))
    good, warnings = _apart([*claims, *containers], _Range(0, disk.length, "the disk"))
    # If the container itself is invalid, so are its partitions.
    for container in containers[:1]:
        if container in good:
            logical, notes = _logical(disk, container, uuid)
            apart, doubts = _apart(logical, container)
            good += apart
            warnings += notes + doubts
    for container in containers[1:]:
        warnings.append(f"{container.what}: only the first extended partition is used")
    return Table("dos", SECTOR, uuid, _partitions(good), tuple(warnings))


def _logical(disk: Window, container: _Range, uuid: str) -> tuple[list[_Range], list[str]]:
    """The logical partitions, and their sectors of description: a chain of EBRs.

    An EBR's partitions are relative to that EBR, the next EBR to the container's start.
    """
    claims: list[_Range] = []
    seen: set[int] = set()
    base = place = container.start // SECTOR
    number = 5
    while True:
        start = place * SECTOR
        if place in seen:
            return claims, [f"{container.what}: its chain of logical partitions is a loop"]
        if not container.start <= start < container.end:
            return claims, [f"{container.what}: its chain of logical partitions leaves it"]
        if number >= 5 + MAX_LOGICAL:
            return claims, [f"{container.what}: has more than {MAX_LOGICAL} logical partitions"]
        seen.add(place)
        slots = _slots(disk.at(start, SECTOR))
        # Linux numbers all partitions of an EBR; other systems write only one.
        data = [slot for slot in slots if slot.type not in EXTENDED]
        claims.append(_Range(start, start + SECTOR, f"an EBR of {container.what}"))
        for slot in data:
            claims.append(_partition(number, slot._replace(start=place + slot.start), uuid))
            number += 1
        links = [slot for slot in slots if slot.type in EXTENDED]
        if not links:
            return claims, []
        place = base + links[0].start


def _slots(sector: bytes) -> list[_Slot]:
    """The used entries of an MBR or EBR; empty if the sector is neither."""
    if sector[510:512] != b"\x55\xaa":
        return []
    slots = []
    for index in range(4):
        entry = sector[gpt.MBR_ENTRIES + 16 * index :][:16]
        if entry[0] not in (0, 0x80):  # boot loaders and file systems end with 0x55AA, too
            return []
        start, count = struct.unpack_from("<II", entry, 8)
        if entry[4] and count:
            slots.append(_Slot(index + 1, entry[4], start, count))
    return slots


def _partition(number: int, slot: _Slot, uuid: str) -> _Range:
    found = _range(slot, f"partition {number}")
    length = found.end - found.start
    partition = Partition(number, found.start, length, f"0x{slot.type:02x}", f"{uuid}-{number:02x}")
    return found._replace(partition=partition)


def _range(slot: _Slot, what: str) -> _Range:
    return _Range(slot.start * SECTOR, (slot.start + slot.sectors) * SECTOR, what)


def _apart(claims: list[_Range], area: _Range) -> tuple[list[_Range], list[str]]:
    """The claims that lie in the area and overlap no other; a warning for each other claim."""
    inside = []
    warnings = []
    for claim in claims:
        if area.start <= claim.start < claim.end <= area.end:
            inside.append(claim)
        else:
            warnings.append(f"{claim.what}: is not inside of {area.what}; it is ignored")
    overlapping: dict[_Range, str] = {}
    furthest: _Range | None = None
    for claim in sorted(inside, key=lambda claim: (claim.start, claim.end)):
        if furthest is not None and claim.start < furthest.end:
            overlapping.setdefault(furthest, claim.what)
            overlapping[claim] = furthest.what
        if furthest is None or claim.end > furthest.end:
            furthest = claim
    warnings += [
        f"{claim.what}: overlaps {other}; it is ignored" for claim, other in overlapping.items()
    ]
    return [claim for claim in inside if claim not in overlapping], warnings


def _partitions(claims: list[_Range]) -> tuple[Partition, ...]:
    return tuple(sorted(claim.partition for claim in claims if claim.partition is not None))
