"""What is read: a disk image of any kind, as extents and bytes."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from converter.extents import Extent


class Reader(Protocol):
    """Reads one source; each thread has its own."""

    def read_into(self, extent: Extent, view: memoryview) -> None:
        """Fills `view` (`extent.length` bytes) with the bytes of a DATA or COMPRESSED extent.

        Raises:
            KitError: the source cannot be read, is short or damaged there; its offset is named.
        """

    def close(self) -> None:
        """Frees what the reader holds."""


class Source(Protocol):
    """A disk image, opened and checked; it stays the same open file until closed."""

    name: str  # as the user named it
    size: int  # of the disk, bytes
    format: str  # qcow2, raw, …
    identity: Mapping[str, str | int]  # changes whenever the source does: for the journal

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """All of the disk from `start` on, in order and without gaps; DATA, COMPRESSED or ZERO.

        `start` is 0 or where an extent of an earlier call began or could have been cut.
        """

    def reader(self) -> Reader:
        """A new reader, for one thread."""

    def close(self) -> None:
        """Closes the source; idempotent."""
