"""What a dirty bitmap and the allocation together tell of a disk."""

from collections.abc import Iterator, Mapping
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from converter import Extent, Kind, NbdSource
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
    disk = Disk([(512, 0), (big, 1), (512, 0)], [(512 + WORTH_ASKING, True)])
    assert list(changed(disk).extents()) == [
        Extent(0, 512, Kind.SAME, 0),
        Extent(512, WORTH_ASKING, Kind.ZERO),
        Extent(512 + WORTH_ASKING, WORTH_ASKING, Kind.DATA, 512 + WORTH_ASKING),
        Extent(512 + big, 512, Kind.SAME, 512 + big),
    ]


def test_of_small_regions_the_server_is_not_asked_for_holes() -> None:
    disk = Disk([(WORTH_ASKING - 1, 1), (512, 0), (512, 4)], [(5 * WORTH_ASKING, True)])
    assert list(changed(disk).extents()) == [
        Extent(0, WORTH_ASKING - 1, Kind.DATA, 0),
        Extent(WORTH_ASKING - 1, 512, Kind.SAME, WORTH_ASKING - 1),
        Extent(WORTH_ASKING + 511, 512, Kind.DATA, WORTH_ASKING + 511),
    ]
    assert not disk.asked


def test_from_where_an_earlier_copy_ended_all_is_new() -> None:
    disk = Disk([(512, 1), (4096, 0), (512, 1)], [(3000, False), (1000, True)])
    cut = ChangedSource(cast(NbdSource, disk), 1024)
    wanted = [
        Extent(0, 512, Kind.DATA, 0),
        Extent(512, 512, Kind.SAME, 512),
        Extent(1024, 1976, Kind.DATA, 1024),
        Extent(3000, 1000, Kind.ZERO),
        Extent(4000, 1120, Kind.DATA, 4000),
    ]
    assert list(cut.extents()) == wanted
    assert list(cut.extents(3000)) == wanted[3:]
    assert list(cut.extents(700)) == [Extent(700, 324, Kind.SAME, 700), *wanted[2:]]
    assert {e.kind for e in ChangedSource(cast(NbdSource, disk), 0).extents()} <= {
        Kind.DATA,
        Kind.ZERO,
    }


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
    for run in disk.runs():
        inside = [e for e in whole if e.guest_offset < run.end and e.end > run.start]
        assert all((extent.kind is Kind.SAME) == (run.flags == 0) for extent in inside)
    place = int(start * source.size)
    rest = [e.cut(max(e.guest_offset, place), e.end) for e in whole if e.end > place]
    resumed = list(source.extents(place))
    # Of a region that is small from here on, the server is not asked: zeros may count as data.
    assert [e.kind is Kind.SAME for e in merged(_as_data(resumed))] == [
        e.kind is Kind.SAME for e in merged(_as_data(rest))
    ]


def _as_data(extents: list[Extent]) -> list[Extent]:
    return [
        e if e.kind is Kind.SAME else Extent(e.guest_offset, e.length, Kind.DATA, e.guest_offset)
        for e in extents
    ]
