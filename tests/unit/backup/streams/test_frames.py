"""Streams that are whole, cut at every place, altered at every byte, and made of noise."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.streams import stream
from backup.streams.frames import AHEAD, ROOM, Frame, Frames
from backup.streams.stream import Header, StreamError, Trailer
from converter.buffers import buffer
from node import zstd
from node.zstd import Compressor, Decompressor, ZstdError
from tests.unit.backup.made import opened

SIZE = 4096


def frame(content: bytes) -> bytes:
    view, out = buffer(len(content)), buffer(zstd.bound(len(content)))
    view[:] = content
    return bytes(out[: Compressor(1).compress(view, out)])


CONTENT = [os.urandom(SIZE), bytes(SIZE), b"text " * 200]
HEADER = Header(disk_size=2 * SIZE + 1000, kit="1", frame_size=SIZE)
WHOLE = HEADER.encode() + b"".join(map(frame, CONTENT)) + Trailer(3, 1, 2, "d", "h").encode()


@contextmanager
def reading(data: bytes) -> Iterator[Frames]:
    with opened(data) as file:
        yield Frames(file, "the stream")


def read_all(frames: Frames) -> list[bytes]:
    """Header's and trailer's payloads, and content between them."""
    room = buffer(ROOM)
    found: list[bytes] = []
    while not (found and b'"trailer"' in found[-1]):
        one = frames.next(room)
        if isinstance(one, Frame):
            out = buffer(one.content) if one.content else memoryview(b"")
            Decompressor().decompress(one.view, out)
            found.append(bytes(out))
        else:
            found.append(one)
    frames.require_nothing_behind()
    return found


@pytest.mark.parametrize("length", [0, 1, 8, 20, 5000, len(WHOLE), len(WHOLE) + 1])
def test_a_stream_is_read_whatever_was_looked_at_before(length: int) -> None:
    with reading(WHOLE) as frames:
        assert frames.peek(length) == WHOLE[:length]
        header, *content, trailer = read_all(frames)
        assert frames.read_bytes == len(WHOLE)
    assert stream.decode_header(header) == HEADER
    assert content == CONTENT
    assert stream.decode_trailer(trailer) == Trailer(3, 1, 2, "d", "h")


def test_a_stream_that_was_cut_anywhere_is_an_error() -> None:
    for length in range(len(WHOLE)):
        with reading(WHOLE[:length]) as frames, pytest.raises(StreamError):
            read_all(frames)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_an_altered_byte_is_an_error_or_within_json(place: int, change: int) -> None:
    altered = bytearray(WHOLE)
    altered[place] ^= change
    with reading(bytes(altered)) as frames:
        try:
            content = read_all(frames)[1:-1]
        except (StreamError, ZstdError):
            return
    assert content == CONTENT


@given(st.binary(max_size=300))
def test_noise_is_an_error(noise: bytes) -> None:
    with reading(noise) as frames, pytest.raises((StreamError, ZstdError)):
        read_all(frames)


def test_bytes_behind_are_an_error() -> None:
    with reading(WHOLE + b"x") as frames, pytest.raises(StreamError, match="behind its end"):
        read_all(frames)


def test_no_more_is_read_ahead_than_is_stated() -> None:
    """The sender sees what is not read: it must be most of the last frames."""
    ends = [stream.end(number) for number in range(stream.END_FRAMES)]
    data = WHOLE + b"".join(ends)
    with reading(data) as frames:
        room = buffer(ROOM)
        while not isinstance(found := frames.next(room), bytes) or b'"trailer"' not in found:
            pass
        unread = len(data) - os.lseek(frames._fd, 0, os.SEEK_CUR)
        assert unread >= stream.ENDS_SIZE - AHEAD
        for number in range(stream.END_FRAMES):
            stream.require_end(bytes(frames.next(room)), number)
        frames.require_nothing_behind()


def test_frames_larger_than_what_is_read_ahead() -> None:
    content = os.urandom(stream.FRAME_SIZE)
    large = frame(content)
    header = Header(disk_size=3 * len(content), kit="1")
    with reading(header.encode() + large * 3 + Trailer(3, 1, 2, "d", "h").encode()) as frames:
        assert read_all(frames)[1:-1] == [content] * 3
        assert frames.read_bytes == os.lseek(frames._fd, 0, os.SEEK_CUR)
