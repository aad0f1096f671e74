from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from converter.buffers import PAGE
from converter.engine.chunks import SMALL, WINDOW, ZERO_CHUNK, Chunk, chunks, zeros_first
from converter.extents import CHUNK, Extent, Kind, merged


def test_data_is_cut_at_multiples_of_a_chunk() -> None:
    extent = Extent(0, CHUNK + PAGE, Kind.DATA, host_offset=7)
    assert list(chunks([extent], CHUNK + PAGE)) == [
        Chunk(0, CHUNK, (Extent(0, CHUNK, Kind.DATA, host_offset=7),)),
        Chunk(CHUNK, CHUNK + PAGE, (Extent(CHUNK, PAGE, Kind.DATA, host_offset=7 + CHUNK),)),
    ]


def test_many_zeros_are_work_of_their_own_and_keep_to_pages() -> None:
    size = 10 * SMALL
    extents = [
        Extent(0, 100, Kind.DATA),
        Extent(100, 5 * SMALL, Kind.ZERO),
        Extent(100 + 5 * SMALL, size - 5 * SMALL - 100, Kind.DATA),
    ]
    first, zeros, last = chunks(extents, size)
    assert (first.start, first.end, zeros.start, zeros.parts) == (0, PAGE, PAGE, ())
    assert zeros.end == last.start == 5 * SMALL
    assert [part.kind for part in first.parts] == [Kind.DATA, Kind.ZERO]
    assert [part.kind for part in last.parts] == [Kind.ZERO, Kind.DATA]


def test_few_zeros_travel_with_data() -> None:
    extents = [
        Extent(0, SMALL, Kind.DATA),
        Extent(SMALL, PAGE, Kind.ZERO),
        Extent(SMALL + PAGE, SMALL, Kind.DATA, host_offset=5),
    ]
    assert list(chunks(extents, 2 * SMALL + PAGE)) == [Chunk(0, 2 * SMALL + PAGE, tuple(extents))]


def test_endless_zeros_can_be_interrupted() -> None:
    end = 3 * ZERO_CHUNK + 5
    assert [chunk.end for chunk in chunks([Extent(0, end, Kind.ZERO)], end)] == [
        *(n * ZERO_CHUNK for n in (1, 2, 3)),
        end,
    ]


LENGTHS = st.one_of(
    st.integers(1, 3 * PAGE), st.integers(1, 3 * SMALL), st.integers(CHUNK - 9, CHUNK + 9)
)


@settings(derandomize=True)
@given(st.lists(st.tuples(st.sampled_from((Kind.DATA, Kind.ZERO)), LENGTHS), max_size=12))
def test_chunks_cover_all_and_share_no_page(wanted: list[tuple[Kind, int]]) -> None:
    place, extents = 0, []
    for kind, length in wanted:
        extents.append(Extent(place, length, kind, host_offset=place if kind is Kind.DATA else 0))
        place += length
    extents = list(merged(extents))
    made = list(chunks(extents, place))
    assert [chunk.start for chunk in made] == [0, *(chunk.end for chunk in made)][: len(made)]
    assert (made[-1].end if made else 0) == place
    assert all(chunk.end % PAGE == 0 for chunk in made[:-1])
    parts = []
    for chunk in made:
        assert not chunk.parts or chunk.length <= CHUNK
        inside = chunk.parts or (Extent(chunk.start, chunk.length, Kind.ZERO),)
        assert [part.guest_offset for part in inside] == [chunk.start, *(p.end for p in inside)][
            :-1
        ]
        assert inside[-1].end == chunk.end
        parts += inside
    assert list(merged(parts)) == extents


def test_what_the_target_has_is_left_out_and_pages_are_read_whole() -> None:
    extents = [
        Extent(0, SMALL + 100, Kind.SAME, 0),
        Extent(SMALL + 100, 100, Kind.DATA, SMALL + 100),
        Extent(SMALL + 200, PAGE, Kind.SAME, SMALL + 200),
        Extent(SMALL + 200 + PAGE, 100, Kind.ZERO),
        Extent(SMALL + 300 + PAGE, 4 * SMALL, Kind.SAME, SMALL + 300 + PAGE),
    ]
    (chunk,) = chunks(extents, extents[-1].end)
    assert (chunk.start, chunk.end) == (SMALL, SMALL + 2 * PAGE)
    kinds = [Kind.SAME, Kind.DATA, Kind.SAME, Kind.ZERO, Kind.SAME]
    assert [part.kind for part in chunk.parts] == kinds


@settings(derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from((Kind.DATA, Kind.ZERO, Kind.SAME)), LENGTHS), max_size=12)
)
def test_chunks_of_changes_have_them_all_and_share_no_page(
    wanted: list[tuple[Kind, int]],
) -> None:
    place, extents = 0, []
    for kind, length in wanted:
        extents.append(Extent(place, length, kind, 0 if kind is Kind.ZERO else place))
        place += length
    extents = list(merged(extents))
    made = list(chunks(extents, place))
    assert all(chunk.start % PAGE == 0 for chunk in made)
    assert all(chunk.end % PAGE == 0 or chunk.end == place for chunk in made)
    assert all(one.end <= other.start for one, other in pairwise(made))
    parts = [part for chunk in made for part in chunk.parts or (zeros(chunk),)]
    changed = [part for part in parts if part.kind is not Kind.SAME]
    assert joined(changed) == joined([each for each in extents if each.kind is not Kind.SAME])
    for chunk in made:
        rest = [e.cut(max(e.guest_offset, chunk.end), e.end) for e in extents if e.end > chunk.end]
        assert list(chunks(rest, place)) == [each for each in made if each.start >= chunk.end]


def zeros(chunk: Chunk) -> Extent:
    return Extent(chunk.start, chunk.length, Kind.ZERO)


def joined(extents: list[Extent]) -> list[tuple[Kind, int, int]]:
    """Kind, start and end of each run, neighbours of one kind joined."""
    found: list[tuple[Kind, int, int]] = []
    for extent in extents:
        start = extent.guest_offset
        if found and found[-1][0] is extent.kind and found[-1][2] == start:
            start = found.pop()[1]
        found.append((extent.kind, start, extent.end))
    return found


@settings(derandomize=True)
@given(st.lists(st.tuples(st.sampled_from((Kind.DATA, Kind.ZERO)), LENGTHS), max_size=12))
def test_what_is_resumed_is_cut_as_before(wanted: list[tuple[Kind, int]]) -> None:
    place, extents = 0, []
    for kind, length in wanted:
        extents.append(Extent(place, length, kind, host_offset=place if kind is Kind.DATA else 0))
        place += length
    extents = list(merged(extents))
    whole = list(chunks(extents, place))
    for number, chunk in enumerate(whole):
        rest = [e.cut(max(e.guest_offset, chunk.end), e.end) for e in extents if e.end > chunk.end]
        assert list(chunks(rest, place)) == whole[number + 1 :]


def test_the_zeros_of_a_window_come_first_and_no_checkpoint_is_in_it() -> None:
    data = (Extent(0, PAGE, Kind.DATA),)
    in_order = [
        Chunk(SMALL, 2 * SMALL, data),
        Chunk(2 * SMALL, 3 * SMALL, ()),
        Chunk(3 * SMALL, 4 * SMALL, data),
        Chunk(4 * SMALL, WINDOW + SMALL, ()),
        Chunk(WINDOW + SMALL, WINDOW + 2 * SMALL, data),
    ]
    assert list(zeros_first(in_order)) == [
        Chunk(2 * SMALL, 3 * SMALL, (), SMALL),
        Chunk(4 * SMALL, WINDOW + SMALL, (), SMALL),
        Chunk(SMALL, 2 * SMALL, data),
        Chunk(3 * SMALL, 4 * SMALL, data),
        Chunk(WINDOW + SMALL, WINDOW + 2 * SMALL, data),
    ]


@settings(derandomize=True)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 3).map(lambda n: n * WINDOW // 3)), max_size=9)
)
def test_all_before_a_place_is_done_when_the_chunks_before_are(
    wanted: list[tuple[bool, int]],
) -> None:
    place, pieces = 0, []
    for data, length in wanted:
        parts = (Extent(place, length, Kind.DATA),) if data else ()
        pieces.append(Chunk(place, place + length, parts))
        place += length
    order = list(zeros_first(pieces))
    assert sorted(chunk._replace(done_before=None) for chunk in order) == pieces
    for number, chunk in enumerate(order):
        done_before = chunk.start if chunk.done_before is None else chunk.done_before
        assert all(other.start >= done_before for other in order[number:])
