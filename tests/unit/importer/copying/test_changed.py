"""What a dirty bitmap and the allocation together tell of a disk."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from converter import Extent, Kind, NbdSource
from converter.engine.chunks import SMALL
from converter.extents import merged
from converter.sources.nbd_connection import Run
from importer.copying.changed import WORTH_ASKING, ChangedSource


class Disk:
    """As much of an `NbdSource` as is needed: runs of a bitmap, and of the allocation."""

    name, format, identity, status = "vda", "raw", {"disk": "vda"}, None
    features: Mapping[str, str] = {}
    readers = 3

    def __init__(self, dirty: list[tuple[int, int]], holes: list[tuple[int, bool]]) -> None:
        self.size = sum(length for length, _ in dirty)
        self._dirty, self._holes = dirty, holes
        self.asked: list[tuple[int, int]] = []

    def runs(self, start: int = 0) -> Iterator[Run]:
        place = 0
        for length, flags in self._dirty:
            place += length
            if place > start:
                yield Run(max(place - length, start), place, flags)

    def extents_within(self, start: int, end: int) -> Iterator[Extent]:
        self.asked.append((start, end))
        yield from merged(self._allocation(start, end))

    def _allocation(self, start: int, end: int) -> Iterator[Extent]:
        place = 0
        for length, hole in [*self._holes, (self.size, False)]:
            first, last = max(place, start), min(place + length, end)
            place += length
            if first < last:
                kind = Kind.ZERO if hole else Kind.DATA
                yield Extent(first, last - first, kind, 0 if hole else first)


def changed(disk: Disk) -> ChangedSource:
    return ChangedSource(cast(NbdSource, disk))


def test_what_is_not_marked_is_on_the_target_and_holes_become_zeros() -> None:
    big = 2 * WORTH_ASKING
    disk = Disk([(SMALL, 0), (big, 1), (SMALL, 0)], [(SMALL + WORTH_ASKING, True)])
    assert list(changed(disk).extents()) == [
        Extent(0, SMALL, Kind.SAME, 0),
        Extent(SMALL, WORTH_ASKING, Kind.ZERO),
        Extent(SMALL + WORTH_ASKING, WORTH_ASKING, Kind.DATA, SMALL + WORTH_ASKING),
        Extent(SMALL + big, SMALL, Kind.SAME, SMALL + big),
    ]


def test_of_small_regions_the_server_is_not_asked_for_holes() -> None:
    disk = Disk([(WORTH_ASKING - 1, 1), (SMALL, 0), (512, 4)], [(5 * WORTH_ASKING, True)])
    last = WORTH_ASKING - 1 + SMALL
    assert list(changed(disk).extents()) == [
        Extent(0, WORTH_ASKING - 1, Kind.DATA, 0),
        Extent(WORTH_ASKING - 1, SMALL, Kind.SAME, WORTH_ASKING - 1),
        Extent(last, 512, Kind.DATA, last),
    ]
    assert not disk.asked


def test_short_runs_are_data_however_many_there_are() -> None:
    disk = Disk([(512, n % 2) for n in range(1000)] + [(SMALL, 0)], [])
    assert list(changed(disk).extents()) == [
        Extent(0, 512_000, Kind.DATA, 0),
        Extent(512_000, SMALL, Kind.SAME, 512_000),
    ]


def test_the_server_is_asked_once() -> None:
    disk = Disk([(5 * WORTH_ASKING, 1)], [(SMALL, True)])
    source = changed(disk)
    assert list(source.extents()) == list(source.extents())
    assert len(list(source.extents(WORTH_ASKING))) == 1
    assert list(source.extents(disk.size)) == []
    assert disk.asked == [(0, 5 * WORTH_ASKING)]


@given(
    dirty=st.lists(st.tuples(st.integers(1, 3 * WORTH_ASKING), st.integers(0, 2)), min_size=1),
    holes=st.lists(st.tuples(st.integers(1, 3 * WORTH_ASKING), st.booleans())),
    start=st.floats(0, 1),
)
def test_no_marked_byte_is_left_out_wherever_a_copy_goes_on(
    dirty: list[tuple[int, int]], holes: list[tuple[int, bool]], start: float
) -> None:
    disk = Disk(dirty, holes)
    source = changed(disk)
    whole = list(source.extents())
    assert [extent.guest_offset for extent in whole] == [0, *(e.end for e in whole)][:-1]
    assert whole[-1].end == source.size
    assert all(one.kind is not other.kind for one, other in pairwise(whole))
    for run in disk.runs():
        inside = [e for e in whole if e.guest_offset < run.end and e.end > run.start]
        if run.flags:
            assert all(extent.kind is not Kind.SAME for extent in inside)
        elif run.end - run.start >= SMALL:
            assert [extent.kind for extent in inside] == [Kind.SAME]
    for extent in whole:
        if extent.kind is Kind.ZERO:
            (zeros,) = disk.extents_within(extent.guest_offset, extent.end)
            assert zeros.kind is Kind.ZERO
    place = int(start * source.size)
    rest = [e.cut(max(e.guest_offset, place), e.end) for e in whole if e.end > place]
    assert list(source.extents(place)) == rest
