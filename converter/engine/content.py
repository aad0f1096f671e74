"""What a target shall hold, and the pieces of work that this makes."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from converter.engine.chunks import Chunk, chunks
from converter.extents import Extent, Kind, merged, with_replacements
from converter.sources.base import Source


class TargetContent:
    """What the target shall hold: the source's extents, replacements, and zeros up to its end."""

    def __init__(self, source: Source, replacements: Sequence[Extent], end: int) -> None:
        self.source = source
        self.replacements = replacements
        self.end = end

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """All of it from a place on, in order, without gaps, neighbours joined."""
        of_source = self.source.extents(start) if start < self.source.size else iter(())
        return merged(with_replacements(of_source, self.replacements, start, self.end))

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The pieces of work from a place on, which is where a chunk of an earlier call ended."""
        return chunks(self.extents(start), self.end)

    def data(self) -> int:
        """How many bytes come from the source."""
        return self.sizes[Kind.DATA] + self.sizes[Kind.COMPRESSED]

    def data_before(self, end: int) -> int:
        """How many of those are before a place."""
        data = 0
        for extent in self.extents() if end else ():
            if extent.guest_offset >= end:
                break
            if extent.kind in (Kind.DATA, Kind.COMPRESSED):
                data += min(extent.end, end) - extent.guest_offset
        return data

    @cached_property
    def sizes(self) -> dict[Kind, int]:
        """How many bytes are of which kind."""
        sizes = dict.fromkeys(Kind, 0)
        if self.source.sizes is not None and not self.replacements:
            sizes |= self.source.sizes
            sizes[Kind.ZERO] += self.end - self.source.size
            return sizes
        for extent in self.extents():
            sizes[extent.kind] += extent.length
        return sizes
