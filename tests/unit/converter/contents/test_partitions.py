import struct
import time
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.contents.partitions import MAX_LOGICAL, Table, table, with_sectors
from tests.unit.converter.tables import DISK, LINUX, gpt, mbr, reader

MIB = 1 << 20


def found(disk: bytearray) -> Table:
    result = table(reader(disk), len(disk))
    assert result is not None
    return result


def places(disk: bytearray) -> list[tuple[int, int, int]]:
    """Number, first sector and number of sectors."""
    return [(one.number, one.start // 512, one.length // 512) for one in found(disk).partitions]


def test_a_disk_without_a_table_has_none() -> None:
    assert table(reader(bytes(MIB)), MIB) is None
    assert table(reader(b""), 0) is None
    assert table(reader(b"\x55\xaa" * 50), 100) is None


def test_primary_partitions() -> None:
    disk = bytearray(MIB)
    mbr(disk, [(0x83, 64, 100), (0, 0, 0), (0x82, 164, 36), (0x07, 200, 1848)])
    assert places(disk) == [(1, 64, 100), (3, 164, 36), (4, 200, 1848)]
    result = found(disk)
    assert (result.kind, result.uuid, result.warnings) == ("dos", "c0ffee01", ())
    assert [one.type for one in result.partitions] == ["0x83", "0x82", "0x07"]
    assert [one.uuid for one in result.partitions] == ["c0ffee01-01", "c0ffee01-03", "c0ffee01-04"]


@pytest.mark.parametrize(
    ("start", "count"), [(0, 10), (2000, 100), (2048, 1), (0xFFFFFFFF, 0xFFFFFFFF)]
)
def test_a_partition_outside_of_the_disk_does_not_count(start: int, count: int) -> None:
    disk = bytearray(MIB)
    mbr(disk, [(0x83, 64, 100), (0x82, start, count)])
    result = found(disk)
    assert 2 not in [one.number for one in result.partitions]
    assert any("partition 2: " in note for note in result.warnings)


def test_overlapping_partitions_do_not_count() -> None:
    disk = bytearray(MIB)
    mbr(disk, [(0x83, 64, 1000), (0x82, 100, 10), (0x82, 105, 10), (0x83, 1064, 10)])
    assert places(disk) == [(4, 1064, 10)]
    assert len(found(disk).warnings) == 3


def logical(disk: bytearray) -> None:
    mbr(disk, [(0x83, 64, 100), (0x05, 200, 1000)])
    mbr(disk, [(0x83, 10, 50), (0x05, 100, 100)], at=200)
    mbr(disk, [(0x82, 2, 98), (0x05, 300, 100)], at=300)
    mbr(disk, [(0x83, 1, 99)], at=500)


def test_logical_partitions_are_counted_from_their_ebr_and_ebrs_from_the_container() -> None:
    disk = bytearray(MIB)
    logical(disk)
    assert places(disk) == [(1, 64, 100), (5, 210, 50), (6, 302, 98), (7, 501, 99)]
    assert found(disk).warnings == ()
    assert found(disk).partitions[-1].uuid == "c0ffee01-07"


def test_a_loop_of_logical_partitions_ends() -> None:
    disk = bytearray(MIB)
    logical(disk)
    mbr(disk, [(0x83, 1, 99), (0x05, 100, 100)], at=500)
    assert [one.number for one in found(disk).partitions] == [1, 5, 6, 7]
    assert found(disk).warnings == (
        "extended partition 2: its chain of logical partitions is a loop",
    )


def test_a_chain_that_leaves_its_container_ends() -> None:
    disk = bytearray(MIB)
    logical(disk)
    mbr(disk, [(0x83, 1, 99), (0x05, 1000, 100)], at=500)
    assert [one.number for one in found(disk).partitions] == [1, 5, 6, 7]
    assert "leaves it" in found(disk).warnings[0]


def test_an_endless_chain_is_cut() -> None:
    disk = bytearray(8 * MIB)
    mbr(disk, [(0x05, 10, 16000)])
    for place in range(0, 15998, 2):
        mbr(disk, [(0x83, 1, 1), (0x05, place + 2, 2)], at=10 + place)
    result = found(disk)
    assert len(result.partitions) == MAX_LOGICAL
    assert "more than" in result.warnings[0]


def test_a_logical_partition_over_an_ebr_or_beyond_its_container_does_not_count() -> None:
    disk = bytearray(MIB)
    logical(disk)
    mbr(disk, [(0x83, 10, 91), (0x05, 100, 100)], at=200)
    mbr(disk, [(0x83, 1, 900)], at=500)
    assert places(disk) == [(1, 64, 100), (6, 302, 98)]


def test_nothing_counts_in_a_container_that_overlaps_a_partition() -> None:
    disk = bytearray(MIB)
    logical(disk)
    mbr(disk, [(0x83, 64, 300), (0x05, 200, 1000)])
    assert places(disk) == []


@pytest.mark.parametrize("sector", [512, 4096])
def test_gpt(sector: int) -> None:
    disk = bytearray(4 * MIB)
    gpt(disk, [(40, 99), (100, 200)], sector=sector)
    result = found(disk)
    assert (result.kind, result.sector, result.uuid) == ("gpt", sector, str(DISK))
    assert result.warnings == ()
    one, two = result.partitions
    assert (one.start, one.end) == (40 * sector, 100 * sector)
    assert (two.start, two.length) == (100 * sector, 101 * sector)
    assert (two.type, two.name, two.number) == (str(LINUX), "part 2", 2)
    assert two.uuid == str(UUID(int=0xABC << 64 | 2))


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("damaged", [1, 2])
def test_the_backup_counts_where_the_primary_is_damaged(sector: int, damaged: int) -> None:
    disk = bytearray(4 * MIB)
    gpt(disk, [(40, 99)], sector=sector)
    disk[damaged * sector + 40] ^= 1
    result = found(disk)
    assert [one.start for one in result.partitions] == [40 * sector]
    assert result.warnings == ("GPT: its primary copy is damaged; the backup is used",)


def test_two_damaged_copies_are_no_partitions() -> None:
    disk = bytearray(4 * MIB)
    gpt(disk, [(40, 99)])
    disk[520] ^= 1
    disk[-500] ^= 1
    assert found(disk).partitions == ()
    assert found(disk).warnings == ("GPT: both its copies are damaged",)


def test_a_lost_or_misplaced_backup_is_told() -> None:
    disk = bytearray(4 * MIB)
    gpt(disk, [(40, 99)], size=3 * MIB)
    assert found(disk).warnings == ("GPT: its backup copy is not at the disk's end",)
    disk[3 * MIB - 500] ^= 1
    assert found(disk).warnings == ("GPT: its backup copy is damaged or missing",)


def test_gpt_partitions_outside_of_their_area_or_overlapping_do_not_count() -> None:
    disk = bytearray(4 * MIB)
    gpt(disk, [(40, 99), (20, 38), (99, 120), (8100, 8191), (200, 199), (300, 400), (5, 1 << 63)])
    assert [one.number for one in found(disk).partitions] == [6]
    assert len(found(disk).warnings) == 6


def test_a_gpt_that_no_mbr_speaks_of_does_not_count() -> None:
    disk = bytearray(4 * MIB)
    gpt(disk, [(40, 99)])
    mbr(disk, [(0x83, 2048, 1000)])
    assert places(disk) == [(1, 2048, 1000)]


def test_in_a_hybrid_the_gpt_counts() -> None:
    disk = bytearray(4 * MIB)
    gpt(disk, [(40, 99)])
    mbr(disk, [(0xEE, 1, 39), (0x83, 40, 60)])
    assert found(disk).kind == "gpt"


def test_a_boot_sector_of_a_file_system_is_no_table() -> None:
    disk = bytearray(MIB)
    disk[:64] = b"\xeb\x3c\x90mkfs.fat" + struct.pack("<HBHB4xB", 512, 4, 1, 2, 0xF8).ljust(
        53, b"\0"
    )
    mbr(disk, [(0x83, 64, 100)])
    assert table(reader(disk), len(disk)) is None


def test_boot_code_that_ends_like_a_table_is_none() -> None:
    disk = bytearray(MIB)
    mbr(disk, [(0x83, 64, 100)])
    disk[446] = 0x42
    assert table(reader(disk), len(disk)) is None


@st.composite
def hostile(draw: st.DrawFn) -> bytearray:
    """Disks with tables that are damaged here and there, or made up."""
    disk = bytearray(64 << 10)
    if draw(st.booleans()):
        sector = draw(st.sampled_from([512, 4096]))
        number = st.integers(0, 140)
        parts = draw(st.lists(st.tuples(number, number), max_size=8))
        gpt(
            disk,
            parts,
            sector=sector,
            first=draw(st.integers(1, 50)),
            last=draw(st.integers(1, 140)),
        )
    else:
        number = st.integers(0, 0xFFFFFFFF) | st.integers(0, 140)
        slot = st.tuples(st.sampled_from([0, 5, 15, 0x82, 0x83, 0xEE]), number, number)
        for place in draw(st.lists(st.integers(0, 127), max_size=6)):
            mbr(disk, draw(st.lists(slot, max_size=4)), at=place)
        mbr(disk, draw(st.lists(slot, max_size=4)))
    pokes = st.tuples(st.integers(0, len(disk) - 1) | st.integers(440, 640), st.integers(0, 255))
    for place, value in draw(st.lists(pokes, max_size=20)):
        disk[place] = value
    return disk


@settings(derandomize=True, deadline=None, max_examples=400)
@given(hostile(), st.integers(0, 64 << 10))
def test_whatever_a_disk_says_its_partitions_are_inside_and_apart(
    disk: bytearray, size: int
) -> None:
    begun = time.monotonic()
    result = table(reader(disk[:size]), size)
    assert time.monotonic() - begun < 5
    if result is None:
        return
    places = sorted((one.start, one.end) for one in result.partitions)
    assert all(512 <= start < end <= size for start, end in places)
    assert all(one[1] <= two[0] for one, two in pairwise(places))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=4096))
def test_no_bytes_make_it_fail(content: bytes) -> None:
    table(reader(content), len(content))


def test_an_entry_of_an_mbr_gets_another_length() -> None:
    content = bytearray(2 * MIB)
    mbr(content, [(0x83, 100, 200), (0x82, 300, 400)])
    content[446 + 16] = 0x80
    changed = bytearray(with_sectors(bytes(content[:512]), 2, 7))
    assert places(changed + content[512:]) == [(1, 100, 200), (2, 300, 7)]
    differ = {at for at in range(512) if changed[at] != content[at]}
    entry = 446 + 16
    assert differ <= {*range(entry + 5, entry + 8), *range(entry + 12, entry + 16)}
