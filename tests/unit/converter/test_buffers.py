import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.buffers import PAGE, PageCache, address, buffer, equal, is_aligned, is_zero


def test_buffers_are_aligned_and_zero() -> None:
    view = buffer(3 * PAGE)
    assert address(view) % PAGE == 0 and is_zero(view)
    assert is_aligned(view, PAGE) and not is_aligned(view, 512) and not is_aligned(view[1:], 0)
    assert not is_aligned(view[:512], 0)


@settings(derandomize=True)
@given(st.binary(max_size=40), st.integers(0, 39), st.integers(0, 255))
def test_bytes_are_compared_all(content: bytes, place: int, value: int) -> None:
    changed = bytearray(content)
    if place < len(changed):
        changed[place] = value
    one, other = memoryview(bytearray(content)), memoryview(changed)
    assert equal(one, other) == (content == bytes(changed))
    assert is_zero(other) == (not any(changed))


def test_views_of_other_lengths_differ() -> None:
    assert not equal(memoryview(bytearray(3)), memoryview(bytearray(4)))


def test_the_page_cache_holds_what_was_just_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(10 * PAGE + 5))
    with path.open("rb") as file:
        pages = PageCache(file.fileno(), 10 * PAGE + 5)
        assert pages.holds(PAGE, 2 * PAGE) and pages.holds(10 * PAGE, PAGE)
        pages.close()
        assert not pages.holds(0, PAGE)


def test_it_holds_nothing_of_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open("rb") as file:
        assert not PageCache(file.fileno(), 0).holds(0, 5)


@pytest.mark.parametrize("place", [0, 1, 4095])
def test_a_single_byte_is_seen(place: int) -> None:
    view = buffer(PAGE)
    view[place] = 1
    assert not is_zero(view)
