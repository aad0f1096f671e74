"""An increment over what an earlier copy wrote gives what a whole copy would give.

The disk changes between the two, in regions that the source tells; all else may be read, but is
not.
"""

import threading
from collections.abc import Sequence
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.buffers import PAGE
from converter.engine.chunks import SMALL
from converter.engine.content import TargetContent
from converter.engine.digests import Sums
from converter.engine.pool import Pool
from converter.engine.sinks import Writer
from converter.engine.workers import CopyWorker, Counted, VerifyWorker
from converter.engine.written import Written
from converter.errors import VerificationFailed
from converter.extents import Extent, Kind
from tests.unit.converter.memory_source import MemorySource, MemoryTarget

LENGTHS = st.one_of(st.integers(1, 2 * PAGE), st.integers(1, 3 * SMALL))
KINDS = (Kind.SAME, Kind.DATA, Kind.ZERO)


def copy(content: TargetContent, target: MemoryTarget, start: int = 0) -> tuple[Written, int]:
    """Copies in two threads; returns what was written, and how many bytes were counted."""
    written, counted, pool = Written(), Counted(2), Pool(content.chunks(start), start)
    few = threading.Semaphore(2)
    with closing(content.source.reader()) as reader:
        workers = [
            CopyWorker(
                content,
                reader,
                Writer(target.as_target, target.as_zeroer, few),
                pool,
                counted=counted,
                number=number,
                written=written,
            )
            for number in range(2)
        ]
        pool.run(workers, lambda: None)
    return written, counted.total()


def verify(written: Written, target: MemoryTarget) -> tuple[int | None, int]:
    """Reads the target back; returns where it differs, and how many bytes were counted."""
    sums, counted = Sums(), Counted(1)
    worker = VerifyWorker(target.as_target, sums, sampled=False, counted=counted, number=0)
    Pool(written.chunks(), 0).run([worker], lambda: None)
    return written.sums.first_difference(sums), counted.total()


def extents_of(regions: Sequence[tuple[Kind, int]]) -> list[Extent]:
    place, extents = 0, []
    for kind, length in regions:
        extents.append(Extent(place, length, kind, 0 if kind is Kind.ZERO else place))
        place += length
    return extents


@given(
    regions=st.lists(st.tuples(st.sampled_from(KINDS), LENGTHS), min_size=1, max_size=9),
    over=st.none() | st.tuples(st.floats(0, 1), st.integers(1, 5000)),
    behind=st.integers(0, 2 * PAGE),
)
def test_an_increment_makes_of_the_old_content_the_new_one(
    regions: list[tuple[Kind, int]], over: tuple[float, int] | None, behind: int
) -> None:
    extents = extents_of(regions)
    size = extents[-1].end
    old = bytes(1 + n % 251 for n in range(size))
    new = bytearray(old)
    for extent in extents:
        if extent.kind is Kind.DATA:
            new[extent.guest_offset : extent.end] = b"\xff" * extent.length
        elif extent.kind is Kind.ZERO:
            new[extent.guest_offset : extent.end] = bytes(extent.length)
    replaced = []
    wanted = bytearray(new + bytes(behind))
    if over is not None:
        start = int(over[0] * (size - 1))
        literal = b"\xee" * min(over[1], size - start)
        replaced = [Extent(start, len(literal), Kind.LITERAL, literal=literal)]
        wanted[start : start + len(literal)] = literal

    content = TargetContent(MemorySource(bytes(new), extents), replaced, size + behind)
    target = MemoryTarget(old + b"\xdd" * behind)
    written, counted = copy(content, target)
    assert target.content == wanted
    assert counted == content.data() == content.sizes[Kind.DATA]
    assert sum(content.sizes.values()) == size + behind
    touched = sum(length for _, length in [*target.writes, *target.zeroed])
    assert touched <= size + behind - content.sizes[Kind.SAME] + 2 * SMALL * (len(regions) + 2)

    difference, checked = verify(written, target)
    assert difference is None
    assert checked == written.total >= size + behind - content.sizes[Kind.SAME]


def test_bytes_that_the_target_has_are_neither_read_nor_written() -> None:
    extents = extents_of([(Kind.SAME, 5 * SMALL), (Kind.DATA, SMALL), (Kind.SAME, 5 * SMALL)])
    source = MemorySource(b"n" * 11 * SMALL, extents, bad=[0, 11 * SMALL - 1])
    target = MemoryTarget(b"o" * 11 * SMALL)
    content = TargetContent(source, (), target.size)
    copy(content, target)
    assert target.writes == [(5 * SMALL, SMALL)]
    assert not target.zeroed


def test_verification_finds_a_change_that_did_not_arrive() -> None:
    extents = extents_of([(Kind.SAME, SMALL), (Kind.DATA, SMALL), (Kind.ZERO, SMALL)])
    content = TargetContent(MemorySource(b"n" * 3 * SMALL, extents), (), 3 * SMALL)
    target = MemoryTarget(b"o" * 3 * SMALL)
    written, _ = copy(content, target)
    target.content[0] ^= 1  # not part of the increment
    assert verify(written, target)[0] is None
    target.content[SMALL] ^= 1
    assert verify(written, target)[0] == 0
    target.content[2 * SMALL] ^= 1
    with pytest.raises(VerificationFailed):
        verify(written, target)


def test_an_increment_goes_on_where_a_chunk_ended() -> None:
    extents = extents_of([(Kind.DATA, SMALL), (Kind.SAME, 2 * SMALL)] * 3)
    content = TargetContent(MemorySource(b"n" * 9 * SMALL, extents), (), 9 * SMALL)
    target = MemoryTarget(b"o" * 9 * SMALL)
    copy(content, target, start=SMALL)
    assert sorted(target.writes) == [(3 * SMALL, SMALL), (6 * SMALL, SMALL)]
