"""No byte is outside of the smallest disk that is stated, wherever it is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from backup.disks.smallest import smallest_target
from converter.contents.describe import describe
from converter.extents import Extent, Kind
from tests.unit.converter.memory_source import MemorySource
from tests.unit.converter.tables import gpt, mbr, reader

MIB = 1 << 20
SIZE = 4 * MIB
END = 601  # the first sector behind the last partition


def smallest(content: bytearray) -> int:
    read = reader(content)
    source = MemorySource(bytes(content), [Extent(0, len(content), Kind.DATA, 0)])
    return smallest_target(describe(read, len(content)), source, read)


def disk(size: int = SIZE) -> bytearray:
    """A GPT for `size` bytes, on a disk of SIZE."""
    content = bytearray(SIZE)
    gpt(content, [(256, 300), (301, END - 1)], size=size)
    return content


def test_a_gpt_needs_room_for_its_backup() -> None:
    assert smallest(disk()) == (END + 32 + 1) * 512


def test_a_gpt_whose_backup_is_not_at_the_end_needs_all() -> None:
    """The disk was enlarged, and something may use what is behind the backup."""
    assert smallest(disk(3 * MIB)) == SIZE


@settings(max_examples=25)
@given(st.integers(END * 512, SIZE - 1), st.sampled_from([SIZE, 3 * MIB, 2 * MIB]))
def test_a_byte_behind_the_partitions_of_a_gpt(place: int, size: int) -> None:
    content = disk(size)
    backup = range(size - 33 * 512, size)
    if place not in backup:
        content[place] = 1
        assert smallest(content) > place


@settings(max_examples=25)
@given(st.integers(END * 512, SIZE - 1))
def test_a_byte_behind_the_partitions_of_an_mbr(place: int) -> None:
    content = bytearray(SIZE)
    mbr(content, [(0x83, 256, END - 256)])
    assert smallest(content) == END * 512
    content[place] = 1
    assert smallest(content) == place + 1 + -(place + 1) % 512
