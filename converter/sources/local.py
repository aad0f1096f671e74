"""Sources on this node that we read ourselves: qcow2 images and raw disks."""

import errno
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from converter import buffers, paths
from converter.errors import ImageRefused
from converter.extents import Extent, Kind
from converter.formats import qcow2
from converter.formats.inflate import Cluster, InflateError, inflater
from converter.formats.recognise import check_format
from converter.paths import Name
from converter.sources.base import Source
from converter.sources.image_file import LocalFile
from node.errors import KitError

SCRATCH = 4 << 20  # bytes of one read of compressed clusters; a cluster has 2 MiB at most
GAP = 64 << 10  # bytes: to read a gap up to this size is cheaper than a second read
SCATTERED = 8  # a chunk with this many extents is read through the page cache


@contextmanager
def local_source(path: Name, name: str, image_format: str | None) -> Iterator[Source]:
    """Opens an image in a file or on a block device, and checks its tables.

    Args:
        path: the file or device, as the user gave it.
        name: its name in errors.
        image_format: qcow2 or raw; by default raw for a block device, qcow2 for a file.

    Raises:
        KitError: it cannot be read, is in use, or is not a valid image of that format.
    """
    with paths.open_source_file(path, name) as fd:
        file = LocalFile(fd, name)
        image_format = image_format or ("raw" if file.is_block else "qcow2")
        check_format(name, image_format, file.pread, file.size, is_block=file.is_block)
        with closing(file.pages):
            yield Qcow2Source(file) if image_format == "qcow2" else RawSource(file)


class _LocalSource:
    """The common part of sources in local files."""

    format: str
    size: int
    sizes: Mapping[Kind, int] | None = None
    features: Mapping[str, str]
    readers = 16  # enough to keep a disk busy, even if each reads single clusters

    def __init__(self, file: LocalFile) -> None:
        self._file = file
        self.name = file.name
        self.identity = file.identity
        self.status: os.stat_result | None = os.fstat(file.fd)

    def check_unchanged(self) -> None:
        self._file.check_unchanged()


class RawSource(_LocalSource):
    """A raw disk; the holes of a file are zeros that need not be read (lseek(2), SEEK_HOLE).

    Holes are searched only once: blocks that are allocated but unwritten count as a hole, but as
    data once read-ahead has brought them into the page cache.
    """

    def __init__(self, file: LocalFile) -> None:
        super().__init__(file)
        self.format = "raw"
        self.size = file.size
        self.features = {}
        self._data = array("Q", [0, self.size] if file.is_block else self._found())

    def extents(self, start: int = 0) -> Iterator[Extent]:
        place = start
        # The first run that ends after the start; ends have odd indices.
        first = bisect_right(
            range(len(self._data) // 2), start, key=lambda n: self._data[2 * n + 1]
        )
        for number in range(2 * first, len(self._data), 2):
            data, end = max(self._data[number], start), self._data[number + 1]
            if data > place:
                yield Extent(place, data - place, Kind.ZERO)
            yield Extent(data, end - data, Kind.DATA, data)
            place = end
        if place < self.size:
            yield Extent(place, self.size - place, Kind.ZERO)

    def _found(self) -> Iterator[int]:
        """The start and end of each run of data; holes smaller than GAP count as data."""
        start = end = min(self._seek(0, os.SEEK_DATA), self.size)
        while end < self.size:
            hole = min(self._seek(end, os.SEEK_HOLE), self.size)
            data = min(self._seek(hole, os.SEEK_DATA), self.size) if hole < self.size else hole
            if data - hole >= GAP or data == self.size:
                yield from (start, hole)
                start = data
            end = data

    def _seek(self, place: int, whence: int) -> int:
        try:
            return os.lseek(self._file.fd, place, whence)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return self.size
            raise KitError(
                f"source {self.name} at byte {place}: {error.strerror}",
                hint="the disk or file system under it fails: see dmesg",
            ) from error

    def reader(self) -> "LocalReader":
        return LocalReader(self._file, None, 0)


class Qcow2Source(_LocalSource):
    """A qcow2 image; all its tables are checked when it is opened."""

    def __init__(self, file: LocalFile) -> None:
        super().__init__(file)
        self.format = "qcow2"
        try:
            self._image = qcow2.parse(file.pread, file.size)
            allocation = self._image.check()
        except qcow2.FormatError as error:
            raise ImageRefused(f"source {file.name}: {error}", hint=error.hint) from error
        self.size = self._image.size
        self.sizes = {
            Kind.DATA: allocation.data,
            Kind.COMPRESSED: allocation.compressed,
            Kind.ZERO: allocation.zero,
        }
        self.features = self._image.features

    def extents(self, start: int = 0) -> Iterator[Extent]:
        return self._image.extents(start)

    def reader(self) -> "LocalReader":
        return LocalReader(self._file, self._image.compression, self._image.cluster_size)


class LocalReader:
    """Reads with direct I/O what is not in the page cache (that is faster), else through it.

    Scattered extents are always read through the page cache: its read-ahead also fetches the data
    between them, which later chunks need.

    Args:
        compression: of the clusters; None if none are compressed.
        cluster_size: bytes.
    """

    def __init__(self, file: LocalFile, compression: str | None, cluster_size: int) -> None:
        self._file = file
        self._direct = buffers.direct(file.fd, os.O_RDONLY)
        if compression is not None:
            self._inflate = inflater(compression, cluster_size)
            self._scratch = buffers.buffer(SCRATCH + 2 * buffers.PAGE)
            self._spare = buffers.buffer(cluster_size)  # for a cluster that is needed only in part

    def close(self) -> None:
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None

    def read(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        plain = [extent for extent in extents if extent.kind is Kind.DATA]
        for extent in plain:
            place = extent.guest_offset - start
            part = view[place : place + extent.length]
            if len(plain) < SCATTERED:
                self._read(part, extent.host_offset)
            else:
                self._file.read_into(part, extent.host_offset, self._file.fd)
        close: list[Extent] = []  # compressed clusters that are close together in the file
        for extent in extents:
            if extent.kind is Kind.COMPRESSED:
                if close and not _reads_on(close[0], close[-1], extent):
                    self._read_compressed(close, view, start)
                    close = []
                close.append(extent)
        if close:
            self._read_compressed(close, view, start)

    def _read(self, view: memoryview, offset: int, enough: int | None = None) -> None:
        fd = self._file.fd
        if (
            self._direct is not None
            and buffers.is_aligned(view, offset)
            and not self._file.pages.holds(offset, len(view))
        ):
            fd = self._direct
        self._file.read_into(view, offset, fd, enough)

    def _read_compressed(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        """Reads compressed clusters that are close together at once, and inflates them."""
        begin = extents[0].host_offset
        end = max([extent.host_offset + extent.stored_length for extent in extents])
        first = begin - begin % buffers.PAGE
        last = end + -end % buffers.PAGE
        self._read(self._scratch[: last - first], first, end - first)
        whole = [extent for extent in extents if extent.length == len(self._spare)]
        self._inflated(
            whole,
            view,
            [
                Cluster(e.host_offset - first, e.stored_length, e.guest_offset - start)
                for e in whole
            ],
        )
        for extent in [extent for extent in extents if extent.length < len(self._spare)]:
            self._inflated(
                [extent],
                self._spare,
                [Cluster(extent.host_offset - first, extent.stored_length, 0)],
            )
            place = extent.guest_offset - start
            wanted = self._spare[extent.cluster_skip : extent.cluster_skip + extent.length]
            view[place : place + extent.length] = wanted

    def _inflated(
        self, extents: Sequence[Extent], out: memoryview, clusters: Sequence[Cluster]
    ) -> None:
        try:
            self._inflate(self._scratch, out, clusters)
        except InflateError as error:
            extent = extents[error.number]
            raise ImageRefused(
                f"source {self._file.name}: damaged: the compressed cluster at byte"
                f" {extent.host_offset} (byte {extent.guest_offset} of the disk): {error}",
                hint="qemu-img check may show details; restore the image from a good copy",
            ) from error


def _reads_on(first: Extent, before: Extent, extent: Extent) -> bool:
    """Whether one read from `first` on can include `extent`, which follows `before`."""
    offset = extent.host_offset
    return (
        first.host_offset <= offset <= before.host_offset + before.stored_length + GAP
        and offset + extent.stored_length - first.host_offset <= SCRATCH
    )
