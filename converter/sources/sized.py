"""Gives disks their exact size if it is no multiple of 512, which QEMU rounds.

QEMU counts sectors of 512 bytes. Some of its drivers round a size up and read zeros after the end
(raw, vdi); others round it down and lose the end (qcow2).
"""

from collections.abc import Iterator, Mapping, Sequence

from converter import buffers
from converter.extents import Extent, Kind
from converter.formats.disksize import whole_sectors
from converter.formats.foreign import SECTOR
from converter.formats.inflate import Cluster, InflateError, inflater
from converter.formats.qcow2 import FormatError, Image
from converter.reading import Read
from converter.sources.base import Reader, Source
from node.errors import KitError


def exactly(source: Source, size: int, tail: bytes = b"") -> Source:
    """A source with exactly `size` bytes.

    Args:
        source: the disk, as QEMU reads it.
        size: stated in the image's header, or the size of a raw file; bytes.
        tail: the last bytes, if QEMU leaves them out: its disk ends before them.

    Raises:
        KitError: QEMU reads another size: the end of the disk would be lost or wrong.
    """
    if source.size == size and not tail:
        return source
    if source.size != (size - len(tail) if tail else whole_sectors(size)):
        raise KitError(
            f"source {source.name}: the image says that its disk has {size} bytes, but QEMU reads"
            f" {source.size}",
            hint="let the program that made it write a raw or qcow2 image, and compare the sizes",
        )
    return _Sized(source, size, tail)


def tail_of(image: Image, read: Read) -> bytes:
    """The bytes of a qcow2 image's disk after the last whole sector.

    Args:
        image: its tables were checked.
        read: reads its file.

    Raises:
        FormatError: a compressed cluster does not inflate.
        KitError: the file cannot be read.
    """
    start = image.size - image.size % SECTOR
    found = bytearray(image.size - start)
    # The tail lies within one cluster, and within one extent: subclusters are at least a sector.
    for extent in image.extents(start - start % image.cluster_size):
        if extent.end <= start:
            continue
        part = extent.cut(max(start, extent.guest_offset), extent.end)
        if part.kind is Kind.DATA:
            found[part.guest_offset - start : part.end - start] = read(
                part.host_offset, part.length
            )
        elif part.kind is Kind.COMPRESSED:
            whole = _inflated(image, read(part.host_offset, part.stored_length), part)
            found[part.guest_offset - start : part.end - start] = whole[part.cluster_skip :][
                : part.length
            ]
    return bytes(found)


def _inflated(image: Image, raw: bytes, extent: Extent) -> memoryview:
    out = buffers.buffer(image.cluster_size)
    inflate = inflater(image.compression, image.cluster_size)
    try:
        inflate(memoryview(bytearray(raw)), out, [Cluster(0, len(raw), 0)])
    except InflateError as error:
        raise FormatError(
            f"damaged: the compressed cluster at byte {extent.host_offset}"
            f" (byte {extent.guest_offset} of the disk): {error}"
        ) from error
    return out


class _Sized:
    """A `converter.sources.base.Source`: another source, cut at a size or extended by a tail."""

    def __init__(self, source: Source, size: int, tail: bytes) -> None:
        self.name = source.name
        self.size = size
        self.format = source.format
        self.sizes: Mapping[Kind, int] | None = None
        self.features = source.features
        self.identity: Mapping[str, str | int] = {**source.identity, "disk_size": size}
        self.status = source.status
        self._source = source
        self._tail = tail
        self._served = size - len(tail)

    @property
    def readers(self) -> int:
        """See `Source`."""
        return self._source.readers

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """See `Source`."""
        for extent in self._source.extents(start) if start < self._served else ():
            if extent.guest_offset < self._served:
                yield extent.cut(extent.guest_offset, min(extent.end, self._served))
        if self._tail:
            first = max(start, self._served)
            yield Extent(first, self.size - first, Kind.DATA, first)

    def reader(self) -> Reader:
        """See `Source`."""
        return _SizedReader(self._source.reader(), self._served, self._tail)

    def check_unchanged(self) -> None:
        """See `Source`."""
        self._source.check_unchanged()


class _SizedReader:
    """A `converter.sources.base.Reader`; `tail` follows the `served` bytes."""

    def __init__(self, reader: Reader, served: int, tail: bytes) -> None:
        self._reader = reader
        self._served = served
        self._tail = tail

    def read(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        """See `Reader`."""
        served = self._served
        self._reader.read(
            [e.cut(e.guest_offset, min(e.end, served)) for e in extents if e.guest_offset < served],
            view,
            start,
        )
        for extent in extents:
            if extent.end > served:
                first = max(extent.guest_offset, served)
                given = self._tail[first - served : extent.end - served]
                view[first - start : extent.end - start] = given

    def close(self) -> None:
        """See `Reader`."""
        self._reader.close()
