"""Disks that end within a sector."""

import pytest

from converter.extents import Extent, Kind
from converter.formats import qcow2
from converter.sources.sized import exactly, tail_of
from node.errors import KitError
from tests.unit.converter.memory_source import MemorySource
from tests.unit.converter.qcow2_images import Image, deflated

DISK = bytes(range(1, 251)) * 20
CUT = 12  # bytes that the disks of qcow2 images lack to whole clusters


def served(size: int, *zeros: tuple[int, int]) -> MemorySource:
    """As an NBD server gives a disk: whole sectors of it."""
    place, extents = 0, []
    for start, end in (*zeros, (size, size)):
        if start > place:
            extents.append(Extent(place, start - place, Kind.DATA, place))
        if end > start:
            extents.append(Extent(start, end - start, Kind.ZERO))
        place = end
    return MemorySource(DISK[:size].ljust(size, b"\0"), extents)


def content(source: MemorySource, start: int = 0) -> bytes:
    found = bytearray(b"?" * (source.size - start))
    reader = source.reader()
    place = start
    for extent in source.extents(start):
        assert extent.guest_offset == place and extent.length > 0
        place = extent.end
        part = memoryview(found)[extent.guest_offset - start : extent.end - start]
        if extent.kind is Kind.ZERO:
            part[:] = bytes(extent.length)
        else:
            reader.read([extent], part, extent.guest_offset)
    assert place == source.size
    reader.close()
    return bytes(found)


def test_what_is_whole_stays_as_it_is() -> None:
    source = served(1024)
    assert exactly(source, 1024) is source


@pytest.mark.parametrize("size", [1, 511, 513, 1000, 1023])
def test_a_disk_that_was_rounded_up_is_cut(size: int) -> None:
    source = exactly(served(size + -size % 512), size)
    assert source.size == source.identity["disk_size"] == size
    assert content(source) == DISK[:size]  # type: ignore[arg-type]


def test_a_disk_that_ends_with_zeros_is_cut_too() -> None:
    source = exactly(served(2048, (600, 2048)), 1700)
    assert content(source) == DISK[:600] + bytes(1100)  # type: ignore[arg-type]
    assert [extent.kind for extent in source.extents()] == [Kind.DATA, Kind.ZERO]


@pytest.mark.parametrize("size", [1, 511, 4096 + 1, 4096 + 511])
@pytest.mark.parametrize("start", [0, 4096])
def test_a_disk_that_was_rounded_down_gets_its_tail(size: int, start: int) -> None:
    whole = size - size % 512
    source = exactly(served(whole), size, DISK[whole:size])
    assert source.size == size
    if start < size:
        assert content(source, start) == DISK[start:size]  # type: ignore[arg-type]


def test_an_extent_over_both_parts_is_read_from_both() -> None:
    source = exactly(served(1024), 1100, DISK[1024:1100])
    found = memoryview(bytearray(300))
    source.reader().read([Extent(800, 300, Kind.DATA, 800)], found, 800)
    assert found == DISK[800:1100]


@pytest.mark.parametrize(
    ("there", "size", "tail"),
    [(1024, 1025, b""), (1024, 512, b""), (1024, 1536, b""), (512, 1100, b"x" * 76)],
)
def test_any_other_size_is_refused(there: int, size: int, tail: bytes) -> None:
    with pytest.raises(KitError, match=f"its disk has {size} bytes, but QEMU reads {there}$"):
        exactly(served(there), size, tail)


CLUSTER = DISK[:512]


@pytest.mark.parametrize(
    ("image", "tail"),
    [
        (Image(4, {3: CLUSTER}, cut=CUT), CLUSTER[:-CUT]),
        (Image(4, {1: CLUSTER}, cut=CUT), bytes(512 - CUT)),
        (Image(4, compressed={3: deflated(CLUSTER)}, cut=CUT), CLUSTER[:-CUT]),
        (Image(4, {3: CLUSTER}), b""),
        (Image(4, {3: DISK[:4096]}, cluster_bits=12, cut=CUT), DISK[3584 : 4096 - CUT]),
        (
            Image(4, compressed={3: deflated(DISK[:4096])}, cluster_bits=12, cut=CUT),
            DISK[3584 : 4096 - CUT],
        ),
        (Image(1, {0: CLUSTER}, cut=511), CLUSTER[:1]),
    ],
)
def test_the_tail_of_a_qcow2_image(image: Image, tail: bytes) -> None:
    raw = bytes(image.build())

    def read(offset: int, length: int) -> bytes:
        assert offset + length <= len(raw)
        return raw[offset : offset + length]

    tables = qcow2.parse(read, len(raw))
    tables.check()
    assert tail_of(tables, read) == tail
