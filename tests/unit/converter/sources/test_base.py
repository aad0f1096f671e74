import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.extents import CHUNK, Extent, Kind
from converter.sources.base import Disk
from node.errors import KitError
from tests.unit.converter.memory_source import MemorySource

CONTENT = random.Random(2).randbytes(8192)
SIZE = 3 * CHUNK + 100
# Data from other places, zeros, data over the border of a chunk.
EXTENTS = [
    Extent(0, 512, Kind.DATA, 100),
    Extent(512, CHUNK - 1024, Kind.ZERO),
    Extent(CHUNK - 512, 2048, Kind.DATA, 4096),
    Extent(CHUNK + 1536, SIZE - CHUNK - 1536, Kind.ZERO),
]
BYTES = CONTENT[100:612] + bytes(CHUNK - 1024) + CONTENT[4096:6144] + bytes(SIZE - CHUNK - 1536)
PLACES = st.one_of(st.integers(0, 2000), st.integers(CHUNK - 2000, CHUNK + 2000))


@settings(derandomize=True, deadline=None)
@given(PLACES, st.integers(0, 5000))
def test_any_bytes_can_be_read(offset: int, length: int) -> None:
    assert Disk(MemorySource(CONTENT, EXTENTS)).read(offset, length) == BYTES[offset:][:length]


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, SIZE + 1), (SIZE, 1), (5, -1)])
def test_what_is_not_on_the_disk_is_an_error(offset: int, length: int) -> None:
    with pytest.raises(KitError, match="not on the disk"):
        Disk(MemorySource(CONTENT, EXTENTS)).read(offset, length)


def test_only_what_is_wanted_is_read() -> None:
    disk = Disk(MemorySource(CONTENT, EXTENTS, bad=[100]))
    assert disk.read(1, 511) == BYTES[1:512]
    with pytest.raises(KitError, match="at byte 100"):
        disk.read(0, 1)


def test_closing_frees_the_reader() -> None:
    source = MemorySource(CONTENT, EXTENTS)
    disk = Disk(source)
    assert source.open_readers == 1
    disk.close()
    assert source.open_readers == 0
