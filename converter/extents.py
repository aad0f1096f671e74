"""Extents: runs of a disk's bytes with their origin. Sources give them, the engine copies them."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from itertools import chain
from typing import NamedTuple

CHUNK = 2 << 20  # maximum bytes of data in one piece of work: a multiple of every cluster size


class Kind(Enum):
    """Where the bytes of an extent come from."""

    DATA = auto()  # stored in the source uncompressed
    COMPRESSED = auto()  # one compressed cluster of the source
    ZERO = auto()  # zeros, or never written
    LITERAL = auto()  # given bytes that replace the source's
    SAME = auto()  # like DATA, but the target has these bytes already


class Extent(NamedTuple):
    """A run of bytes of one kind; all figures are bytes."""

    guest_offset: int  # on the disk
    length: int
    kind: Kind
    host_offset: int = 0  # DATA, SAME, COMPRESSED: where it begins in the source
    stored_length: int = 0  # COMPRESSED: maximum length there
    cluster_skip: int = 0  # COMPRESSED: bytes of the inflated cluster to skip
    literal: bytes = b""  # LITERAL: its bytes, `length` of them

    @property
    def end(self) -> int:
        """The offset of the first byte after it."""
        return self.guest_offset + self.length

    def cut(self, start: int, end: int) -> "Extent":
        """The part between two offsets of the disk, both within the extent."""
        skipped = start - self.guest_offset
        if not skipped and end - start == self.length:
            return self
        if self.kind in (Kind.DATA, Kind.SAME):
            return Extent(start, end - start, self.kind, self.host_offset + skipped)
        if self.kind is Kind.LITERAL:
            literal = self.literal[skipped : end - self.guest_offset]
            return Extent(start, end - start, Kind.LITERAL, literal=literal)
        skip = self.cluster_skip + skipped if self.kind is Kind.COMPRESSED else 0
        return self._replace(guest_offset=start, length=end - start, cluster_skip=skip)


def merged(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Joins adjacent extents of the same kind that are also contiguous in the source."""
    held: Extent | None = None
    for extent in extents:
        kind = extent.kind
        if held is not None and held.kind is kind and kind is not Kind.COMPRESSED:
            stored = kind in (Kind.DATA, Kind.SAME)
            if kind is Kind.ZERO or (
                stored and held.host_offset + held.length == extent.host_offset
            ):
                held = held._replace(length=held.length + extent.length)
                continue
        if held is not None:
            yield held
        held = extent
    if held is not None:
        yield held


def with_replacements(
    extents: Iterable[Extent], replacements: Sequence[Extent], start: int, end: int
) -> Iterator[Extent]:
    """The extents of a disk with replacements put over them, then zeros up to `end`.

    Args:
        extents: in order, without gaps, the first of them at `start`, none beyond `end`.
        replacements: in order, not overlapping each other, none beyond `end`.
        start: everything before this offset is left out.
        end: of the target.
    """
    place = start
    pending = deque(replacements)
    for given in chain(extents, [None]):
        extent = given or Extent(place, end - place, Kind.ZERO)
        if not pending and extent.length:
            yield extent
            place = extent.guest_offset + extent.length
            continue
        while place < extent.end:
            while pending and pending[0].end <= place:
                pending.popleft()
            if pending and pending[0].guest_offset <= place:
                upto = min(pending[0].end, extent.end)
                yield pending[0].cut(place, upto)
            else:
                upto = min(pending[0].guest_offset, extent.end) if pending else extent.end
                yield extent.cut(place, upto)
            place = upto
