"""Sources that this node can open: qcow2 images, and raw disks in files and block devices."""

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

SCRATCH = 4 << 20  # one read of compressed clusters; a cluster has 2 MiB at most
GAP = 64 << 10  # reading so many bytes for nothing is cheaper than a read of its own
SCATTERED = 8  # places of the file: a piece that stands in so many is read by the page cache


@contextmanager
def local_source(path: Name, name: str, image_format: str | None) -> Iterator[Source]:
    """Opens an image that stands in a file or on a block device, and checks its tables.

    Args:
        path: the file or device, as the user gave it.
        name: what errors call it.
        image_format: qcow2 or raw; by default raw for a block device, qcow2 for a file.

    Raises:
        KitError: it cannot be read, is in use, or is not a sound image of that format.
    """
    with paths.open_source_file(path, name) as fd:
        file = LocalFile(fd, name)
        image_format = image_format or ("raw" if file.is_block else "qcow2")
        check_format(name, image_format, file.pread, file.size, is_block=file.is_block)
        with closing(file.pages):
            yield Qcow2Source(file) if image_format == "qcow2" else RawSource(file)


class _LocalSource:
    """What sources in local files share."""

    format: str
    size: int
    sizes: Mapping[Kind, int] | None = None
    features: Mapping[str, str]
    readers = 16  # a cold disk is kept busy, also where it is read a cluster at a time

    def __init__(self, file: LocalFile) -> None:
        self._file = file
        self.name = file.name
        self.identity = file.identity
        self.status: os.stat_result | None = os.fstat(file.fd)

    def check_unchanged(self) -> None:
        self._file.check_unchanged()


class RawSource(_LocalSource):
    """A raw disk; the holes of a file are zeros that need not be read (lseek(2), SEEK_HOLE).

    They are looked for once: where blocks are allocated but unwritten, what was a hole becomes
    data as soon as reading ahead has brought it into the page cache.
    """

    def __init__(self, file: LocalFile) -> None:
        super().__init__(file)
        self.format = "raw"
        self.size = file.size
        self.features = {}
        self._data = array("Q", [0, self.size] if file.is_block else self._found())

    def extents(self, start: int = 0) -> Iterator[Extent]:
        place = start
        # The first run whose end is behind the start; the ends stand at odd places.
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
        """Where each run of data begins and ends; holes below GAP count as data."""
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
    """A qcow2 image, all of whose tables were checked."""

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
    """Reads past the page cache what the page cache does not hold (that is faster), else from it.

    What is scattered over the file is read through it: with the neighbours that it reads as well,
    later pieces are made.

    Args:
        compression: of the clusters; None where there are none.
        cluster_size: bytes.
    """

    def __init__(self, file: LocalFile, compression: str | None, cluster_size: int) -> None:
        self._file = file
        self._direct = buffers.direct(file.fd, os.O_RDONLY)
        if compression is not None:
            self._inflate = inflater(compression, cluster_size)
            self._scratch = buffers.buffer(SCRATCH + 2 * buffers.PAGE)
            self._spare = buffers.buffer(cluster_size)  # for a cluster of which a part is wanted

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
        close: list[Extent] = []  # compressed clusters that stand close together in the file
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
        """Reads compressed clusters that stand close together in one go, and inflates them."""
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
                hint="qemu-img check may tell more; restore the image from a good copy",
            ) from error


def _reads_on(first: Extent, before: Extent, extent: Extent) -> bool:
    """Whether reading from the first cluster on may go on to another, behind the one before."""
    offset = extent.host_offset
    return (
        first.host_offset <= offset <= before.host_offset + before.stored_length + GAP
        and offset + extent.stored_length - first.host_offset <= SCRATCH
    )
