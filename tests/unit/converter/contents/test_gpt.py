import struct
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.contents.gpt import Repair, repaired
from converter.contents.partitions import table
from converter.extents import Kind
from tests.unit.converter.tables import gpt, mbr, reader

MIB = 1 << 20
SIZE = 4 * MIB


def disk(**how: int) -> bytearray:
    content = bytearray(b"\xaa" * SIZE)
    content[:512] = bytes(512)
    gpt(content, [(256, 300), (301, 600)], **how)
    return content


def repair(content: bytearray, target: int) -> Repair | None:
    return repaired(reader(content), len(content), target)


def grown(content: bytearray, target: int) -> tuple[bytearray, Repair]:
    """The target after the copy."""
    found = repair(content, target)
    assert found is not None and found.extents, found
    place = 0
    result = bytearray(content.ljust(target, b"\0"))
    for extent in found.extents:
        assert place <= extent.guest_offset < extent.end <= target
        place = extent.end
        literal = extent.literal if extent.kind is Kind.LITERAL else bytes(extent.length)
        assert len(literal) == extent.length
        result[extent.guest_offset : extent.end] = literal
    return result, found


def changed(content: bytearray, result: bytearray, sector: int) -> set[int]:
    """The sectors of the source's size that differ."""
    pieces = range(0, len(content), sector)
    return {at // sector for at in pieces if content[at : at + sector] != result[at : at + sector]}


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("target", [SIZE + 4096, SIZE + 20480, 5 * MIB, 5 * MIB + 100, 64 * MIB])
def test_the_backup_goes_to_the_targets_end(sector: int, target: int) -> None:
    content = disk(sector=sector)
    result, found = grown(content, target)
    before, after = table(reader(content), SIZE), table(reader(result), target)
    assert before and after
    assert after.partitions == before.partitions
    assert (after.uuid, after.warnings) == (before.uuid, ())
    assert found.why == "GPT: its backup goes to the target's end"
    end = target // sector - 1
    assert struct.unpack_from("<I", result, 446 + 12) == (end,)
    # Alone, too, both copies hold.
    for place in (1, end):
        broken = bytearray(result)
        broken[place * sector + 60] ^= 1
        other = table(reader(broken), target)
        assert other is not None and other.partitions == before.partitions
    sectors = 128 * 128 // sector
    old = set(range(SIZE // sector - 1 - sectors, SIZE // sector))
    assert changed(content, result, sector) <= {0, 1} | old
    if target >= 5 * MIB:
        assert not any(result[SIZE - sectors * sector - sector : SIZE])


def test_the_area_for_partitions_grows() -> None:
    result, _ = grown(disk(), 5 * MIB)
    first, last = struct.unpack_from("<QQ", result, 512 + 40)
    assert (first, last) == (34, 5 * 2048 - 1 - 32 - 1)
    (length, crc) = struct.unpack_from("<II", result, 512 + 12)
    header = result[512 : 512 + length]
    assert crc32(header[:16] + bytes(4) + header[20:]) == crc


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("copy", ["primary", "primary's entries", "backup", "backup's entries"])
def test_a_damaged_copy_is_made_anew(sector: int, copy: str) -> None:
    whole = disk(sector=sector)
    content = bytearray(whole)
    base = sector if copy.startswith("primary") else SIZE - sector
    away = 0 if "entries" not in copy else sector if copy.startswith("p") else -sector
    content[base + away + 60] ^= 1
    result, found = grown(content, 5 * MIB)
    healthy, _ = grown(whole, 5 * MIB)
    which = copy.partition("'")[0]
    assert found.why.endswith(f"; its damaged {which} copy is made anew")
    assert result[: 600 * sector] == healthy[: 600 * sector]
    assert result[SIZE:] == healthy[SIZE:]
    after = table(reader(result), 5 * MIB)
    assert after is not None and after.warnings == ()


def test_a_backup_that_was_misplaced_already_is_moved() -> None:
    content = disk(size=3 * MIB)
    result, _ = grown(content, 5 * MIB)
    after = table(reader(result), 5 * MIB)
    assert after is not None and after.warnings == ()
    assert not any(result[3 * MIB - 512 : 3 * MIB])
    assert result[3 * MIB :][:MIB] == content[3 * MIB :][:MIB]


def test_a_target_of_the_same_size_needs_nothing() -> None:
    assert repair(disk(), SIZE) is None


@pytest.mark.parametrize("sector", [512, 4096])
def test_on_a_smaller_target_the_area_for_partitions_shrinks(sector: int) -> None:
    content = disk(sector=sector)
    before = table(reader(content), SIZE)
    assert before is not None
    array = 128 * 128 // sector
    smallest = (601 + array + 1) * sector
    assert smallest < SIZE
    found = repair(content, smallest)
    assert found is not None and found.extents
    result = bytearray(content[:smallest])
    for extent in found.extents:
        assert extent.end <= smallest
        result[extent.guest_offset : extent.end] = extent.literal
    after = table(reader(result), smallest)
    assert after is not None
    assert (after.partitions, after.uuid, after.warnings) == (before.partitions, before.uuid, ())
    assert changed(content[:smallest], result, sector) <= {0, 1, *range(601, 601 + array + 1)}

    none = repair(content, smallest - sector)
    assert none is not None and not none.extents and "overlap" in none.why


def test_disks_without_a_gpt_need_nothing() -> None:
    assert repair(bytearray(SIZE), 5 * MIB) is None
    content = disk()
    mbr(content, [(0x83, 2048, 100)])
    assert repair(content, 5 * MIB) is None


def test_the_mbr_of_a_hybrid_stays() -> None:
    content = disk()
    mbr(content, [(0xEE, 1, 255), (0x83, 256, 45)])
    result, _ = grown(content, 5 * MIB)
    assert result[:512] == content[:512]


def refused(content: bytearray, target: int = 5 * MIB) -> str:
    found = repair(content, target)
    assert found is not None and found.extents == ()
    return found.why


def test_doubts_leave_it_as_it_is() -> None:
    content = disk()
    content[512 + 60] ^= 1
    content[SIZE - 512 + 60] ^= 1
    assert refused(content) == "GPT: both its copies are damaged; left as it is"

    content = bytearray(SIZE)
    gpt(content, [(256, 300), (300, 600)])
    assert refused(content) == "GPT: partitions overlap; left as it is"
    for outside in ((20, 40), (8000, 8170), (50, 40)):
        gpt(content, [outside])
        assert "outside of the area" in refused(content)

    one = disk()
    other = bytearray(SIZE)
    gpt(other, [(256, 299)])
    one[-33 * 512 :] = other[-33 * 512 :]
    assert refused(one) == "GPT: its two copies differ; left as it is"


def test_a_target_that_is_hardly_larger_may_have_no_room_for_the_backup() -> None:
    content = bytearray(SIZE)
    # A primary alone, whose area for partitions goes to the last sector.
    gpt(content, [(256, 300)], last=SIZE // 512 - 1, size=SIZE + 512)
    assert "would overlap" in refused(content, SIZE + 512)
    assert repair(content, SIZE + 33 * 512) != repair(content, SIZE + 512)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 2 * 512 + 200), st.integers(0, 255)), max_size=4),
    st.lists(st.tuples(st.integers(1, 600), st.integers(0, 255)), max_size=4),
    st.integers(SIZE + 1, 6 * MIB),
)
def test_whatever_the_disk_says_partitions_are_not_touched(
    front: list[tuple[int, int]], back: list[tuple[int, int]], target: int
) -> None:
    content = disk()
    for place, value in front:
        content[place] = value
    for place, value in back:
        content[-place] = value
    found = repair(content, target)
    before = table(reader(content), SIZE)
    if found is None or before is None or not found.extents:
        return
    result, _ = grown(content, target)
    after = table(reader(result), target)
    assert after is not None and after.partitions == before.partitions
    for one in before.partitions:
        assert result[one.start : one.end] == content[one.start : one.end]


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("damaged", ["neither", "primary", "backup"])
def test_a_partition_that_ends_earlier_lets_the_target_be_smaller(
    sector: int, damaged: str
) -> None:
    content = disk(sector=sector)
    before = table(reader(content), SIZE)
    assert before is not None
    if damaged != "neither":
        content[sector + 60 if damaged == "primary" else SIZE - sector + 60] ^= 1
    smaller = 400 * sector
    found = repaired(reader(content), SIZE, smaller, {2: 350})
    assert found is not None and found.extents
    result = bytearray(content[:smaller])
    for extent in found.extents:
        assert extent.end <= smaller
        result[extent.guest_offset : extent.end] = extent.literal
    one, two = before.partitions
    for place in (1, 399):  # alone, too, both copies hold
        broken = bytearray(result)
        broken[place * sector + 60] ^= 1
        after = table(reader(broken), smaller)
        assert after is not None
        assert after.partitions == (one, two._replace(length=(350 - 301 + 1) * sector))
    after = table(reader(result), smaller)
    assert after is not None and after.warnings == ()
    assert repaired(reader(content), SIZE, smaller, {2: 399}) == Repair(
        (), "GPT: on the target its backup would overlap the area for partitions; left as it is"
    )
