"""From what a target shall hold to the pieces of work of the threads: pure."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from converter.buffers import PAGE
from converter.extents import CHUNK, Extent, Kind

ZERO_CHUNK = 1 << 30  # bytes of a piece of zeros: for progress, and to be interruptible
WINDOW = 64 << 20  # bytes of the disk whose zeros are made before its data are written
# Fewer zeros than that between data travel with them: cheaper than an operation of their own.
SMALL = 64 << 10


class Chunk(NamedTuple):
    """A piece of the target, from `start` up to `end`: what its parts say, or zeros without any.

    Its parts are in order and without gaps. Both places are multiples of PAGE (but for the end of
    a target whose size is none): no two chunks share a page, so one thread may write past the page
    cache while another writes through it.

    Where chunks are not in the order of the disk, `done_before` is the place before which all is
    done when all chunks before this one are; else that is its start, and `done_before` is None.
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
    """Cuts extents into pieces of work.

    Args:
        extents: in order, without gaps, from a multiple of PAGE up to `end`; neighbours of one
            kind are joined.
        end: of the target.
    """
    parts: list[Extent] = []
    for extent in extents:
        rest = extent
        if extent.kind is Kind.ZERO:
            first = _rounded_up(extent.guest_offset)
            last = end if extent.end == end else extent.end - extent.end % PAGE
            if last - first >= SMALL:
                if extent.guest_offset < first:
                    parts.append(extent.cut(extent.guest_offset, first))
                if parts:
                    yield _chunk(parts)
                    parts = []
                for place in range(first, last, ZERO_CHUNK):
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
    """Brings the zeros of each WINDOW before its data.

    A file gets a hole only while nothing is written to it past the page cache: its file system
    awaits what is under way, and lets nothing begin (inode_dio_wait() of Linux). The same holds for
    loop devices. One such wait for each window is cheaper than one for each hole.
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
