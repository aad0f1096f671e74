"""The content planned for a target, as extents and as chunks."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from converter.engine.chunks import Chunk, chunks
from converter.extents import Extent, Kind, merged, with_replacements
from converter.sources.base import Source


class TargetContent:
    """The target's planned content: the source's extents, replacements, and zeros to its end."""

    def __init__(self, source: Source, replacements: Sequence[Extent], end: int) -> None:
        self.source = source
        self.replacements = replacements
        self.end = end

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """All extents from an offset on, in order, without gaps, neighbours joined."""
        of_source = self.source.extents(start) if start < self.source.size else iter(())
        return merged(with_replacements(of_source, self.replacements, start, self.end))

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """All chunks from `start` on, which is 0 or the end of a chunk of an earlier call."""
        return chunks(self.extents(start), self.end)

    def data(self) -> int:
        """The number of bytes that come from the source."""
        return self.sizes[Kind.DATA] + self.sizes[Kind.COMPRESSED]

    def data_before(self, end: int) -> int:
        """The number of bytes before `end` that come from the source."""
        data = 0
        for extent in self.extents() if end else ():
            if extent.guest_offset >= end:
                break
            if extent.kind in (Kind.DATA, Kind.COMPRESSED):
                data += min(extent.end, end) - extent.guest_offset
        return data

    @cached_property
    def sizes(self) -> dict[Kind, int]:
        """The number of bytes by kind."""
        sizes = dict.fromkeys(Kind, 0)
        if self.source.sizes is not None and not self.replacements:
            sizes |= self.source.sizes
            sizes[Kind.ZERO] += self.end - self.source.size
            return sizes
        for extent in self.extents():
            sizes[extent.kind] += extent.length
        return sizes
