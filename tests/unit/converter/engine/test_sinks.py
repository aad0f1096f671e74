import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.buffers import PAGE, buffer
from converter.engine.sinks import BLOCK, Comparer, Differences, Updater, Writer
from converter.extents import CHUNK
from tests.unit.converter.memory_source import MemoryTarget

SIZE = CHUNK + 3 * BLOCK + 512  # the last piece is no whole page
OLD = random.Random(1).randbytes(SIZE)


def view_of(content: bytes) -> memoryview:
    view = buffer(max(len(content), 1))[: len(content)]
    view[:] = content
    return view


def changed(places: list[int]) -> bytes:
    new = bytearray(OLD)
    for place in places:
        new[place] ^= 0x80
    return bytes(new)


def test_data_is_written_and_zeros_in_it_are_left_to_the_zeroer() -> None:
    target = MemoryTarget(OLD)
    sink = Writer(target.as_target, target.as_zeroer, threading.Semaphore())
    sink.data(PAGE, view_of(b"x" * PAGE))
    sink.data(3 * PAGE, view_of(bytes(PAGE)))
    sink.zeros(5 * PAGE, 7 * PAGE)
    assert target.writes == [(PAGE, PAGE)]
    assert target.zeroed == [(3 * PAGE, PAGE), (5 * PAGE, 2 * PAGE)]


@pytest.mark.parametrize(
    ("places", "writes"),
    [
        ([], []),
        ([0], [(0, BLOCK)]),
        ([BLOCK - 1, BLOCK], [(0, 2 * BLOCK)]),
        ([5 * BLOCK + 7], [(5 * BLOCK, BLOCK)]),
        ([0, 2 * BLOCK], [(0, BLOCK), (2 * BLOCK, BLOCK)]),
        ([CHUNK - 1], [(CHUNK - BLOCK, BLOCK)]),
        ([SIZE - 1], [(SIZE - 512, 512)]),
    ],
)
def test_an_update_writes_the_blocks_that_differ(
    places: list[int], writes: list[tuple[int, int]]
) -> None:
    target, new = MemoryTarget(OLD), changed(places)
    sink = Updater(target.as_target)
    sink.data(0, view_of(new[:CHUNK]))
    sink.data(CHUNK, view_of(new[CHUNK:]))
    assert target.writes == writes
    assert target.content == new


def test_an_update_zeros_only_what_is_not_zero() -> None:
    target = MemoryTarget(bytes(CHUNK) + OLD[:BLOCK] + bytes(CHUNK))
    Updater(target.as_target).zeros(0, target.size)
    assert target.writes == [(CHUNK, BLOCK)]
    assert not any(target.content)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.sets(st.integers(0, SIZE - 1), max_size=6))
def test_a_comparison_names_the_first_byte_and_counts_pages(places: set[int]) -> None:
    target, found = MemoryTarget(OLD), Differences()
    new = changed(sorted(places))
    for start in (CHUNK, 0):  # threads come in any order
        Comparer(target.as_target, found).data(start, view_of(new[start : start + CHUNK]))
    assert found.first == min(places, default=None)
    pages = {place // PAGE for place in places}
    assert found.bytes == sum(min(PAGE, SIZE - page * PAGE) for page in pages)
    assert not target.writes


def test_zeros_are_compared_too() -> None:
    target, found = MemoryTarget(bytes(3 * CHUNK)), Differences()
    target.content[2 * CHUNK + 77] = 1
    Comparer(target.as_target, found).zeros(PAGE, 3 * CHUNK)
    assert (found.first, found.bytes) == (2 * CHUNK + 77, PAGE)
