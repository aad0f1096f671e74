import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.extents import Extent, Kind, merged, with_replacements

KINDS = (Kind.DATA, Kind.COMPRESSED, Kind.ZERO, Kind.SAME)


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.SAME])
def test_what_is_stored_is_cut_in_the_source_too(kind: Kind) -> None:
    cut = Extent(100, 50, kind, host_offset=1000).cut(120, 130)
    assert cut == Extent(120, 10, kind, host_offset=1020)


def test_a_compressed_cluster_is_cut_by_skipping() -> None:
    cluster = Extent(100, 50, Kind.COMPRESSED, host_offset=1000, stored_length=7)
    cut = cluster.cut(120, 150).cut(125, 130)
    assert cut == Extent(
        125, 5, Kind.COMPRESSED, host_offset=1000, stored_length=7, cluster_skip=25
    )


def test_a_literal_is_cut_with_its_bytes() -> None:
    cut = Extent(100, 4, Kind.LITERAL, literal=b"abcd").cut(101, 103)
    assert cut == Extent(101, 2, Kind.LITERAL, literal=b"bc")


def test_neighbours_are_joined_where_the_source_continues() -> None:
    extents = [
        Extent(0, 10, Kind.DATA, host_offset=100),
        Extent(10, 10, Kind.DATA, host_offset=110),
        Extent(20, 10, Kind.DATA, host_offset=100),
        Extent(30, 10, Kind.ZERO),
        Extent(40, 10, Kind.ZERO),
        Extent(50, 10, Kind.COMPRESSED, host_offset=5, stored_length=5),
        Extent(60, 10, Kind.COMPRESSED, host_offset=10, stored_length=5),
        Extent(70, 10, Kind.SAME, host_offset=70),
        Extent(80, 10, Kind.SAME, host_offset=80),
        Extent(90, 10, Kind.DATA, host_offset=90),
        Extent(100, 10, Kind.SAME, host_offset=0),
    ]
    assert list(merged(extents)) == [
        Extent(0, 20, Kind.DATA, host_offset=100),
        Extent(20, 10, Kind.DATA, host_offset=100),
        Extent(30, 20, Kind.ZERO),
        *extents[5:7],
        Extent(70, 20, Kind.SAME, host_offset=70),
        *extents[9:],
    ]


def test_zeros_follow_a_disk_that_ends_before_the_target() -> None:
    disk = [Extent(0, 10, Kind.DATA)]
    assert list(with_replacements(disk, [], 0, 15)) == [disk[0], Extent(10, 5, Kind.ZERO)]


def test_a_replacement_may_reach_behind_the_disk() -> None:
    over = Extent(8, 4, Kind.LITERAL, literal=b"abcd")
    assert list(with_replacements([Extent(0, 10, Kind.DATA)], [over], 0, 15)) == [
        Extent(0, 8, Kind.DATA),
        Extent(8, 2, Kind.LITERAL, literal=b"ab"),
        Extent(10, 2, Kind.LITERAL, literal=b"cd"),
        Extent(12, 3, Kind.ZERO),
    ]


@st.composite
def runs(draw: st.DrawFn, kinds: tuple[Kind, ...]) -> list[Extent]:
    """Extents in order, without gaps."""
    place, made = 0, []
    for length in draw(st.lists(st.integers(1, 9), max_size=8)):
        kind = draw(st.sampled_from(kinds))
        literal = bytes(200 + n for n in range(length)) if kind is Kind.LITERAL else b""
        made.append(
            Extent(place, length, kind, host_offset=place, stored_length=1, literal=literal)
        )
        place += length
    return made


def painted(extents: list[Extent]) -> list[tuple[Kind, int]]:
    """For each byte, its kind and which byte of the source or literal it is."""
    content = []
    for extent in extents:
        for n in range(extent.length):
            of = {
                Kind.DATA: extent.host_offset + n,
                Kind.SAME: extent.host_offset + n,
                Kind.COMPRESSED: extent.host_offset + extent.cluster_skip + n,
                Kind.ZERO: 0,
                Kind.LITERAL: extent.literal[n] if extent.literal else -1,
            }
            content.append((extent.kind, of[extent.kind]))
    return content


@settings(derandomize=True)
@given(
    runs(KINDS), runs((Kind.ZERO, Kind.LITERAL, Kind.SAME)), st.sets(st.integers(0, 7)), st.data()
)
def test_what_is_replaced_is_what_painting_over_gives(
    disk: list[Extent], over: list[Extent], kept: set[int], data: st.DataObject
) -> None:
    replacements = [extent for n, extent in enumerate(over) if n in kept]
    size = disk[-1].end if disk else 0
    end = max(size, replacements[-1].end if replacements else 0) + data.draw(st.integers(0, 5))
    expected = painted(disk) + [(Kind.ZERO, 0)] * (end - size)
    for extent in replacements:
        expected[extent.guest_offset : extent.end] = painted([extent])
    start = data.draw(st.integers(0, end))
    rest = [extent.cut(max(extent.guest_offset, start), extent.end) for extent in disk]
    found = list(
        with_replacements(
            [e for e in rest if e.end > start and e.length > 0], replacements, start, end
        )
    )
    assert painted(found) == expected[start:]
    places = [start, *(extent.end for extent in found)]
    assert [extent.guest_offset for extent in found] == places[:-1]
    assert all(extent.length > 0 for extent in found)
