"""The interface of sources: a disk image of any kind, read as extents and bytes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from converter.extents import CHUNK, Extent, Kind
from node.errors import KitError


class Reader(Protocol):
    """Reads one source; each thread has its own."""

    def read(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        """Reads all extents but ZERO ones into a writable view of the disk from `start` on.

        Raises:
            KitError: the source cannot be read, is short or damaged; the message names the offset.
        """

    def close(self) -> None:
        """Frees the reader's resources."""


class Source(Protocol):
    """A disk image, opened and checked; it stays the same open file until closed."""

    name: str  # as the user gave it
    size: int  # of the disk, bytes
    format: str  # qcow2, raw, …
    sizes: Mapping[Kind, int] | None  # bytes by kind; None: sum up the extents
    features: Mapping[str, str]  # of the format, as text
    identity: Mapping[str, str | int]  # for the journal: changes if the source changes
    status: os.stat_result | None  # of its file or device, if that is on this node

    @property
    def readers(self) -> int:
        """The maximum number of useful concurrent readers; ask before you open them."""

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """The extents from `start` on, in order and without gaps: DATA, COMPRESSED or ZERO.

        A source of changes gives SAME for what has not changed; its reader reads that, too.
        `start` is 0, or an offset where an extent of an earlier call began or could be cut.
        """

    def reader(self) -> Reader:
        """A new reader, for one thread."""

    def check_unchanged(self) -> None:
        """Checks that the source has not changed while it was read.

        Raises:
            KitError: it was written to after it was opened.
        """


class Disk:
    """Reads a source's disk at any offset, to examine it before it is copied."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._reader = source.reader()
        self.size = source.size

    def read(self, offset: int, length: int) -> bytes:
        """Reads a range of the disk.

        Raises:
            KitError: the range is not within the disk, or cannot be read.
        """
        end = offset + length
        if not 0 <= offset <= end <= self.size:
            raise KitError(
                f"source {self._source.name}: bytes {offset} to {end} are not on the disk",
                hint="the source's partition table or a boot sector names them: it is damaged",
            )
        found = bytearray(length)
        view = memoryview(found)
        if not length:
            return b""
        # Extents can begin at a multiple of the cluster size; CHUNK is a multiple of all of these.
        for extent in self._source.extents(offset - offset % CHUNK):
            first, last = max(extent.guest_offset, offset), min(extent.end, end)
            if first < last and extent.kind is not Kind.ZERO:
                self._reader.read([extent.cut(first, last)], view, offset)
            if extent.end >= end:
                break
        return bytes(found)

    def close(self) -> None:
        """Frees the reader; the source stays open."""
        self._reader.close()
