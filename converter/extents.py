"""Runs of a disk's bytes, and what is known of each: the one currency of the converter."""

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import NamedTuple


class Kind(Enum):
    """Where the bytes of an extent come from."""

    DATA = auto()  # stand in the source as they are
    COMPRESSED = auto()  # one compressed cluster of the source
    ZERO = auto()  # are zero, or nothing was ever written there
    LITERAL = auto()  # are given: what we put in place of the source's bytes


class Extent(NamedTuple):
    """A run of bytes of one kind; all figures are bytes.

    A compressed cluster is one extent; its end may be cut (the end of the disk), its start not.
    """

    start: int  # on the disk
    length: int
    kind: Kind
    offset: int = 0  # DATA, COMPRESSED: where it begins in the source
    size: int = 0  # COMPRESSED: at most so many bytes there
    literal: bytes = b""  # LITERAL: its bytes, `length` of them

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.length

    def cut(self, start: int, end: int) -> "Extent":
        """The part of it between two places of the disk, both inside of it.

        Raises:
            ValueError: the start of a compressed cluster would be cut off.
        """
        skipped = start - self.start
        if self.kind is Kind.DATA:
            return Extent(start, end - start, Kind.DATA, self.offset + skipped)
        if self.kind is Kind.LITERAL:
            literal = self.literal[skipped : end - self.start]
            return Extent(start, end - start, Kind.LITERAL, literal=literal)
        if self.kind is Kind.COMPRESSED and skipped:
            raise ValueError(f"a compressed cluster starts at {self.start}, not at {start}")
        return self._replace(start=start, length=end - start)


def merged(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Joins neighbours of one kind that continue each other in the source."""
    held: Extent | None = None
    for extent in extents:
        if held is not None and held.kind is extent.kind:
            zero = extent.kind is Kind.ZERO
            data = extent.kind is Kind.DATA and held.offset + held.length == extent.offset
            if zero or data:
                held = held._replace(length=held.length + extent.length)
                continue
        if held is not None:
            yield held
        held = extent
    if held is not None:
        yield held
