from hypothesis import given, settings
from hypothesis import strategies as st

from converter.buffers import PAGE
from converter.engine.chunks import SMALL, WINDOW, ZERO_CHUNK, Item, items, zeros_first
from converter.extents import CHUNK, Extent, Kind, merged


def test_data_is_cut_at_multiples_of_a_chunk() -> None:
    extent = Extent(0, CHUNK + PAGE, Kind.DATA, host_offset=7)
    assert list(items([extent], CHUNK + PAGE)) == [
        Item(0, CHUNK, (Extent(0, CHUNK, Kind.DATA, host_offset=7),)),
        Item(CHUNK, CHUNK + PAGE, (Extent(CHUNK, PAGE, Kind.DATA, host_offset=7 + CHUNK),)),
    ]


def test_many_zeros_are_work_of_their_own_and_keep_to_pages() -> None:
    size = 10 * SMALL
    extents = [
        Extent(0, 100, Kind.DATA),
        Extent(100, 5 * SMALL, Kind.ZERO),
        Extent(100 + 5 * SMALL, size - 5 * SMALL - 100, Kind.DATA),
    ]
    first, zeros, last = items(extents, size)
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
    assert list(items(extents, 2 * SMALL + PAGE)) == [Item(0, 2 * SMALL + PAGE, tuple(extents))]


def test_endless_zeros_can_be_interrupted() -> None:
    end = 3 * ZERO_CHUNK + 5
    assert [item.end for item in items([Extent(0, end, Kind.ZERO)], end)] == [
        *(n * ZERO_CHUNK for n in (1, 2, 3)),
        end,
    ]


LENGTHS = st.one_of(
    st.integers(1, 3 * PAGE), st.integers(1, 3 * SMALL), st.integers(CHUNK - 9, CHUNK + 9)
)


@settings(derandomize=True)
@given(st.lists(st.tuples(st.sampled_from((Kind.DATA, Kind.ZERO)), LENGTHS), max_size=12))
def test_items_cover_all_and_share_no_page(wanted: list[tuple[Kind, int]]) -> None:
    place, extents = 0, []
    for kind, length in wanted:
        extents.append(Extent(place, length, kind, host_offset=place if kind is Kind.DATA else 0))
        place += length
    extents = list(merged(extents))
    made = list(items(extents, place))
    assert [item.start for item in made] == [0, *(item.end for item in made)][: len(made)]
    assert (made[-1].end if made else 0) == place
    assert all(item.end % PAGE == 0 for item in made[:-1])
    parts = []
    for item in made:
        assert not item.parts or item.length <= CHUNK
        inside = item.parts or (Extent(item.start, item.length, Kind.ZERO),)
        assert [part.guest_offset for part in inside] == [item.start, *(p.end for p in inside)][:-1]
        assert inside[-1].end == item.end
        parts += inside
    assert list(merged(parts)) == extents


@settings(derandomize=True)
@given(st.lists(st.tuples(st.sampled_from((Kind.DATA, Kind.ZERO)), LENGTHS), max_size=12))
def test_what_is_resumed_is_cut_as_before(wanted: list[tuple[Kind, int]]) -> None:
    place, extents = 0, []
    for kind, length in wanted:
        extents.append(Extent(place, length, kind, host_offset=place if kind is Kind.DATA else 0))
        place += length
    extents = list(merged(extents))
    whole = list(items(extents, place))
    for number, item in enumerate(whole):
        rest = [e.cut(max(e.guest_offset, item.end), e.end) for e in extents if e.end > item.end]
        assert list(items(rest, place)) == whole[number + 1 :]


def test_the_zeros_of_a_window_come_first_and_vouch_for_nothing_in_it() -> None:
    data = (Extent(0, PAGE, Kind.DATA),)
    in_order = [
        Item(SMALL, 2 * SMALL, data),
        Item(2 * SMALL, 3 * SMALL, ()),
        Item(3 * SMALL, 4 * SMALL, data),
        Item(4 * SMALL, WINDOW + SMALL, ()),
        Item(WINDOW + SMALL, WINDOW + 2 * SMALL, data),
    ]
    assert list(zeros_first(in_order)) == [
        Item(2 * SMALL, 3 * SMALL, (), SMALL),
        Item(4 * SMALL, WINDOW + SMALL, (), SMALL),
        Item(SMALL, 2 * SMALL, data),
        Item(3 * SMALL, 4 * SMALL, data),
        Item(WINDOW + SMALL, WINDOW + 2 * SMALL, data),
    ]


@settings(derandomize=True)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 3).map(lambda n: n * WINDOW // 3)), max_size=9)
)
def test_all_before_the_floor_is_done_when_the_items_before_are(
    wanted: list[tuple[bool, int]],
) -> None:
    place, pieces = 0, []
    for data, length in wanted:
        parts = (Extent(place, length, Kind.DATA),) if data else ()
        pieces.append(Item(place, place + length, parts))
        place += length
    order = list(zeros_first(pieces))
    assert sorted(item._replace(floor=None) for item in order) == pieces
    for number, item in enumerate(order):
        floor = item.start if item.floor is None else item.floor
        assert all(other.start >= floor for other in order[number:])
