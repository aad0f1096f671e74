"""The blocks of a comparison, against a model that looks at each byte."""

from hypothesis import given
from hypothesis import strategies as st

from converter.extents import Extent, Kind
from importer.copying.comparison.agent import BLOCK
from importer.copying.comparison.blocks import Blocks, to_compare

SIZES = st.integers(0, 40 * BLOCK)
LENGTHS = st.one_of(st.integers(1, 3 * BLOCK), st.integers(1, 8).map(lambda n: n * BLOCK))


def blocks_of(size: int) -> list[tuple[int, int]]:
    return [(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]


@given(
    runs=st.lists(st.tuples(LENGTHS, st.booleans()), max_size=12),
    over=st.lists(st.tuples(st.integers(0, 30 * BLOCK), st.integers(1, 2 * BLOCK)), max_size=3),
)
def test_zeros_and_replaced_bytes_decide_for_whole_blocks(
    runs: list[tuple[int, bool]], over: list[tuple[int, int]]
) -> None:
    size = sum(length for length, _ in runs)
    zero = bytearray()
    for length, is_zero in runs:
        zero += bytes([is_zero]) * length
    replaced, place = [], 0
    for start, length in sorted(over):  # some beyond the disk's end, as a GPT's backup
        start = max(start, place)
        replaced.append(Extent(start, length, Kind.ZERO))
        place = start + length

    found: dict[int, Kind] = {}
    end = 0
    for extent in to_compare(runs, replaced, size):
        assert extent.guest_offset == end
        assert extent.length > 0
        end = extent.end
        assert end == size or end % BLOCK == 0
        found |= dict.fromkeys(range(extent.guest_offset, end, BLOCK), extent.kind)
    assert end == size
    for start, upto in blocks_of(size):
        if any(each.guest_offset < upto and each.end > start for each in replaced):
            assert found[start] is Kind.SAME
        else:
            assert found[start] is (Kind.ZERO if all(zero[start:upto]) else Kind.DATA)


@given(
    size=SIZES,
    marks=st.lists(
        st.tuples(
            st.integers(0, 39),
            st.integers(1, 20),
            st.sampled_from([Kind.DATA, Kind.ZERO, Kind.SAME]),
        ),
        max_size=8,
    ),
    start=st.integers(0, 40 * BLOCK),
)
def test_marks_give_extents_without_gaps(
    size: int, marks: list[tuple[int, int, Kind]], start: int
) -> None:
    blocks = Blocks(size)
    kinds: dict[int, Kind | None] = {first: None for first, _ in blocks_of(size)}
    for first, count, kind in marks:
        first, end = first * BLOCK, min((first + count) * BLOCK, size)
        if first < end:
            blocks.mark(first, end, kind)
            kinds |= dict.fromkeys(range(first, end, BLOCK), kind)
    for kind in (Kind.DATA, Kind.ZERO, Kind.SAME):
        ends = dict(blocks_of(size))
        assert blocks.total(kind) == sum(
            ends[first] - first for first, marked in kinds.items() if marked is kind
        )

    start = min(start, size)
    end = start
    for extent in blocks.extents(start):
        assert extent.guest_offset == end
        end = extent.end
        for first in range(extent.guest_offset // BLOCK * BLOCK, end, BLOCK):
            assert extent.kind is (kinds[first] or Kind.DATA)  # not compared: copied
        if extent.kind is not Kind.ZERO:
            assert extent.host_offset == extent.guest_offset
    assert end == size


def test_the_last_block_may_be_short() -> None:
    blocks = Blocks(BLOCK + 5)
    blocks.mark(BLOCK, BLOCK + 5, Kind.SAME)
    assert (blocks.total(Kind.SAME), blocks.total(Kind.DATA)) == (5, 0)
