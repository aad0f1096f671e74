"""Cuts a target's content into chunks, the threads' pieces of work. Pure."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from converter.buffers import PAGE
from converter.extents import CHUNK, Extent, Kind

ZERO_CHUNK = 1 << 30  # bytes of a chunk of zeros: limited for progress and for signals
WINDOW = 64 << 20  # bytes of the disk; within each window, zeros are made before data is written
# Zeros between data that are shorter than this (bytes) are written with the data: that is cheaper
# than an operation of their own. So is what the target has already: two reads would be needed.
SMALL = 64 << 10


class Chunk(NamedTuple):
    """A piece of the target from `start` up to `end` (bytes); without parts, it is all zeros.

    Its parts are in order and without gaps. `start` and `end` are multiples of PAGE, except for the
    end of a target whose size is not. So no two chunks share a page, and one thread may use direct
    I/O while another writes through the page cache.

    `done_before`: if all earlier chunks are done, all bytes before this offset are done. None means
    `start`. It differs from that only where chunks are not in the order of the disk.
    """

    start: int
    end: int
    parts: tuple[Extent, ...]
    done_before: int | None = None

    @property
    def length(self) -> int:
        """Bytes."""
        return self.end - self.start


def chunks(extents: Iterable[Extent], end: int) -> Iterator[Chunk]:
    """Cuts extents into chunks, which leave out what the target has already.

    Args:
        extents: in order, without gaps, from a multiple of PAGE up to `end`; neighbours of one
            kind are joined.
        end: of the target, bytes.
    """
    parts: list[Extent] = []
    for extent in extents:
        rest = extent
        if extent.kind in (Kind.ZERO, Kind.SAME):
            first = _rounded_up(extent.guest_offset)
            last = end if extent.end == end else extent.end - extent.end % PAGE
            if last - first >= SMALL:
                if extent.guest_offset < first:
                    parts.append(extent.cut(extent.guest_offset, first))
                if parts:
                    yield _chunk(parts)
                    parts = []
                for place in range(first, last, ZERO_CHUNK) if extent.kind is Kind.ZERO else ():
                    yield Chunk(place, min(place + ZERO_CHUNK, last), ())
                rest = extent.cut(last, extent.end)
        while rest.length:
            window = rest.guest_offset - rest.guest_offset % CHUNK + CHUNK
            if rest.guest_offset + rest.length < window:
                parts.append(rest)
                break
            yield _chunk([*parts, rest.cut(rest.guest_offset, window)])
            parts = []
            rest = rest.cut(window, rest.end)
    if parts:
        yield _chunk(parts)


def zeros_first(pieces: Iterable[Chunk]) -> Iterator[Chunk]:
    """Moves the zeros of each WINDOW before its data.

    To punch a hole in a file, its file system waits for all direct I/O under way, and lets none
    start meanwhile (inode_dio_wait() of Linux). The same holds for loop devices. One such wait for
    each window is cheaper than one for each hole.
    """
    for _, window in groupby(pieces, key=lambda chunk: chunk.start // WINDOW):
        found = list(window)
        yield from (
            chunk._replace(done_before=found[0].start) for chunk in found if not chunk.parts
        )
        yield from (chunk for chunk in found if chunk.parts)


def _chunk(parts: list[Extent]) -> Chunk:
    return Chunk(parts[0].guest_offset, parts[-1].end, tuple(parts))


def _rounded_up(place: int) -> int:
    return place + -place % PAGE
