"""What is read: a disk image of any kind, as extents and bytes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from converter.extents import CHUNK, Extent, Kind
from node.errors import KitError


class Reader(Protocol):
    """Reads one source; each thread has its own."""

    def read(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        """Puts the bytes of DATA and COMPRESSED extents where they belong in a writable view.

        The view stands for the disk from `start` on.

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
    sizes: Mapping[Kind, int] | None  # how many bytes are of which kind; None: count the extents
    features: Mapping[str, str]  # of the format, for people
    identity: Mapping[str, str | int]  # changes whenever the source does: for the journal
    status: os.stat_result | None  # of its file or device, where that is on this node

    @property
    def readers(self) -> int:
        """So many at once are of use, and can be had; to be asked before they are opened."""

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """All of the disk from `start` on, in order and without gaps; DATA, COMPRESSED or ZERO.

        `start` is 0 or where an extent of an earlier call began or could have been cut.
        """

    def reader(self) -> Reader:
        """A new reader, for one thread."""

    def check_unchanged(self) -> None:
        """Says whether all that was read was of one state of the source.

        Raises:
            KitError: it was written to since it was opened.
        """


class Disk:
    """Reads a source's disk at any place: for what looks into it before it is copied."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._reader = source.reader()
        self.size = source.size

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, which are inside of the disk.

        Raises:
            KitError: they are not, or the source cannot be read there.
        """
        end = offset + length
        if not 0 <= offset <= end <= self.size:
            raise KitError(
                f"source {self._source.name}: bytes {offset} to {end} are not on the disk",
                hint="what names them is damaged: a partition table or a boot sector of the source",
            )
        found = bytearray(length)
        view = memoryview(found)
        if not length:
            return b""
        # Every source can begin at a multiple of its cluster's size, and CHUNK is one of all.
        for extent in self._source.extents(offset - offset % CHUNK):
            first, last = max(extent.guest_offset, offset), min(extent.end, end)
            if first < last and extent.kind is not Kind.ZERO:
                self._reader.read([extent.cut(first, last)], view, offset)
            if extent.end >= end:
                break
        return bytes(found)

    def close(self) -> None:
        """Frees what reading took; the source stays open."""
        self._reader.close()
