"""A source's disk at any place: for what looks into it before it is copied."""

from converter.extents import CHUNK, Kind
from converter.sources.base import Source
from node.errors import KitError


class Disk:
    """Reads any bytes of a source's disk."""

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
            first, last = max(extent.start, offset), min(extent.end, end)
            if first < last and extent.kind is not Kind.ZERO:
                self._reader.read([extent.cut(first, last)], view, offset)
            if extent.end >= end:
                break
        return bytes(found)

    def close(self) -> None:
        """Frees what reading took; the source stays open."""
        self._reader.close()
