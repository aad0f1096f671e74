"""The qcow2 format: maps the bytes of the disk to offsets in the file.

By QEMU's docs/interop/qcow2. Images may be hostile, so each table entry is checked before it is
used. No input or output of its own.
"""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from converter.extents import Extent, Kind, merged
from converter.formats.qcow2_header import (
    MAGIC,
    FormatError,
    Header,
    parse_header,
    read_exactly,
)
from converter.formats.qcow2_tables import OFFSET, Metadata, inside, load_tables, numbers
from converter.reading import Read

__all__ = ["MAGIC", "Allocation", "FormatError", "Image", "parse"]

_COPIED = 1 << 63  # L1 and L2 entries: its refcount is exactly one
_COMPRESSED = 1 << 62
_ZERO = 1 << 0  # version 3 without extended entries
_RESERVED = 0x3F00_0000_0000_0000  # bits 56-61 of a standard cluster's entry
_SECTOR = 512  # a compressed cluster's size is counted in these
_MAX_OFFSET = 1 << 56

_SUBCLUSTERS = 32
_ALL_ALLOCATED = (1 << _SUBCLUSTERS) - 1

# The end of the data in a cluster, bytes; and the cluster's parts: for each, its first byte, the
# byte after its last, and whether it is data.
_Parts = tuple[int, tuple[tuple[int, int, bool], ...]]


def parse(read: Read, file_size: int) -> "Image":
    """Parses an image: checks its header and all tables, except the entries of the L2 tables.

    Args:
        read: reads the file; never beyond its end.
        file_size: of the file, bytes.

    Raises:
        FormatError: it is no qcow2 image, is damaged, or needs other files.
    """
    header = parse_header(read, file_size)
    return Image(header, load_tables(header, read, file_size), read, file_size)


@dataclass(frozen=True)
class Allocation:
    """How a disk's bytes are stored; figures are bytes of the disk, except the last two."""

    data: int
    compressed: int
    zero: int
    compressed_clusters: int  # their number
    compressed_size: int  # bytes of the file that they occupy at most


class Image:
    """A qcow2 image: the size of its disk, and the mapping of the disk to the file."""

    def __init__(self, header: Header, metadata: Metadata, read: Read, file_size: int) -> None:
        self.header = header
        self.size = header.size
        self.cluster_size = header.cluster_size
        self.compression = header.compression
        self.version = header.version
        self._metadata = metadata
        self._read = read
        self._file_size = file_size
        self._span = header.l2_span
        self._data: _Parts = (self.cluster_size, ((0, self.cluster_size, True),))
        self._zeros: _Parts = (0, ((0, self.cluster_size, False),))
        misaligned = self.cluster_size - 1
        if header.version == 3 and not header.extended_l2:
            misaligned &= ~_ZERO
        self._forbidden = _RESERVED | misaligned
        # The bit where the number of sectors begins in a compressed cluster's entry.
        self._shift = 62 - (header.cluster_bits - 8)

    @property
    def features(self) -> Mapping[str, str]:
        """The features that the image uses, as text."""
        header = self.header
        return {
            "version": str(header.version),
            "cluster size": str(header.cluster_size),
            "compression": header.compression,
            "extended L2": "yes" if header.extended_l2 else "no",
            "refcount bits": str(header.refcount_bits),
            "lazy refcounts": "yes" if header.lazy_refcounts else "no",
            "dirty": "yes" if header.dirty else "no",
            "internal snapshots": str(header.snapshots),
            "bitmaps": str(header.bitmaps.number if header.bitmaps else 0),
        }

    def check(self) -> Allocation:
        """Checks every table entry that maps the disk.

        Raises:
            FormatError: an entry is invalid, or maps to where no data of the disk can be.
        """
        data = compressed = zero = clusters = size = 0
        for extent in self._runs(0):
            if extent.kind is Kind.COMPRESSED:
                compressed += extent.length
                clusters += 1
                size += extent.stored_length
            elif extent.kind is Kind.DATA:
                data += extent.length
            else:
                zero += extent.length
        return Allocation(data, compressed, zero, clusters, size)

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """The extents of the disk from `start` on, merged, in order and without gaps.

        Raises:
            FormatError: as `check` does, if the file changed since then.
        """
        for extent in merged(self._runs(start)):
            yield extent if extent.guest_offset >= start else extent.cut(start, extent.end)

    def _runs(self, start: int) -> Iterator[Extent]:
        l1 = self._metadata.l1
        index = start // self._span
        while (place := index * self._span) < self.size:
            table = l1[index] & OFFSET
            if table:
                skipped = max(start - place, 0) // self.cluster_size
                yield from self._mapped(table, place, skipped)
                index += 1
            else:
                tables = _run(l1, index, 0, len(l1) - index)
                index += tables
                yield Extent(place, min(tables * self._span, self.size - place), Kind.ZERO)

    def _mapped(self, table: int, base: int, index: int) -> Iterator[Extent]:
        """The extents of an L2 table that maps the disk from `base` on; skips `index` entries.

        Entries beyond the disk's end are checked, too.
        """
        cluster = self.cluster_size
        raw = numbers(read_exactly(self._read, table, cluster))
        entries, bitmaps = (raw[::2], raw[1::2]) if self.header.extended_l2 else (raw, None)
        bitmap = 0
        alike = len(entries) if bitmaps is None else index  # end of entries with the same bitmap
        while index < len(entries):
            entry = entries[index]
            place = base + index * cluster
            left = self.size - place
            if bitmaps is not None:
                bitmap = bitmaps[index]
                if index == alike:
                    alike = index + _run(bitmaps, index, 0, len(entries) - index)
            if entry & _COMPRESSED:
                index += 1
                extent = self._compressed(entry, bitmap, place)
                if left > 0:
                    yield extent
                continue
            offset = entry & OFFSET
            if entry & self._forbidden:
                raise _invalid(place, entry, "reserved bits are set, or no cluster begins there")
            if not offset and entry & _COPIED:
                raise _invalid(place, entry, "data of the disk cannot be where the header is")
            clusters = _run(entries, index, cluster if offset else 0, alike - index)
            index += clusters
            if bitmaps is not None:
                reach, parts = self._subclusters(offset, bitmap, place)
            elif offset and not entry & _ZERO:
                reach, parts = self._data
            else:
                reach, parts = self._zeros
            if offset:
                self._check_host_range(place, offset, (clusters - 1) * cluster, reach)
            if left <= 0:
                continue
            whole = min(clusters * cluster, left)
            if len(parts) == 1:
                yield _extent(place, whole, offset, parts[0][2])
                continue
            for skipped in range(0, whole, cluster):
                for first, end, is_data in parts:
                    begin = skipped + first
                    if begin < left:
                        length = min(end - first, left - begin)
                        yield _extent(place + begin, length, offset + begin, is_data)

    def _subclusters(self, offset: int, bitmap: int, place: int) -> _Parts:
        allocated = bitmap & _ALL_ALLOCATED
        if allocated & bitmap >> _SUBCLUSTERS:
            raise _invalid(place, bitmap, "a subcluster is allocated and zero at once")
        if allocated and not offset:
            raise _invalid(place, bitmap, "subclusters are allocated, and the cluster is not")
        return _parts(allocated, self.cluster_size // _SUBCLUSTERS)

    def _check_host_range(self, place: int, offset: int, before: int, reach: int) -> None:
        """Checks that the file has the data of contiguous clusters, and that no table is there.

        QEMU writes new clusters whole, but of the last one no more than the disk or its allocated
        subclusters need. That much must be in the file, else it is truncated. QEMU itself reads
        zeros beyond the end of a file, so it would not notice. If nothing will be read
        (preallocated zeros), the cluster must at least begin in the file.

        Args:
            place: on the disk, bytes.
            offset: in the file, bytes.
            before: length of all clusters except the last one, bytes.
            reach: how much of the last one must be in the file, if the disk does not end before.
        """
        end = offset + before + max(1, min(reach, self.size - place - before))
        if end > self._file_size:
            inside(f"byte {place} of the disk", offset, end - offset, self._file_size)
        self._refuse_metadata(place, offset, end)

    def _refuse_metadata(self, place: int, start: int, end: int) -> None:
        if holder := self._metadata.holder(start, end):
            raise FormatError(f"byte {place} of the disk is at {start} in the file, in {holder}")

    def _compressed(self, entry: int, bitmap: int, place: int) -> Extent:
        shift = self._shift
        offset = entry & ((1 << shift) - 1)
        if entry & _COPIED or bitmap or offset >= _MAX_OFFSET:
            raise _invalid(place, entry, "no compressed cluster has these bits set")
        sectors = ((entry & ~_COMPRESSED) >> shift) + 1
        end = offset - offset % _SECTOR + sectors * _SECTOR
        # QEMU counts sectors, but writes bytes: the file may end within the last sector. Inflating
        # will show whether the needed bytes are there.
        if end > self._file_size and (needed := max(end - _SECTOR, offset) + 1) > self._file_size:
            what = f"byte {place} of the disk (compressed)"
            inside(what, offset, needed - offset, self._file_size)
        self._refuse_metadata(place, offset, end)
        length = min(self.cluster_size, self.size - place)
        return Extent(place, length, Kind.COMPRESSED, offset, min(end, self._file_size) - offset)


def _extent(start: int, length: int, offset: int, is_data: bool) -> Extent:
    if is_data:
        return Extent(start, length, Kind.DATA, offset)
    return Extent(start, length, Kind.ZERO)


def _invalid(place: int, entry: int, why: str) -> FormatError:
    return FormatError(f"the L2 entry for byte {place} of the disk is {entry:#018x}: {why}")


@lru_cache(maxsize=4096)
def _parts(allocated: int, size: int) -> _Parts:
    """The parts of a cluster by its allocation bits; `size` of a subcluster, bytes."""
    parts: list[tuple[int, int, bool]] = []
    for number in range(_SUBCLUSTERS):
        is_data = bool(allocated >> number & 1)
        begin = number * size
        if parts and parts[-1][2] is is_data:
            begin = parts.pop()[0]
        parts.append((begin, (number + 1) * size, is_data))
    return allocated.bit_length() * size, tuple(parts)


def _run(entries: "array[int]", index: int, step: int, limit: int) -> int:
    """The number of entries from `index` on, at most `limit`, that each increase by `step`.

    Compares in pieces that double in size: fast for single entries and for thousands.
    """
    if limit == 1 or entries[index + 1] != entries[index] + step:
        return 1
    length = 2
    while length < limit:
        width = min(length, limit - length)
        begin = index + length
        expected = _expected(entries[index] + length * step, step, width)
        found = entries[begin : begin + width]
        if found != expected:
            return length + _alike(found, expected)
        length += width
    return length


def _alike(one: "array[int]", other: "array[int]") -> int:
    """The number of equal entries at the start of two tables that differ somewhere."""
    first, behind = 0, len(one)  # the first entry that differs is between these
    while behind - first > 1:
        middle = (first + behind) // 2
        if one[first:middle] == other[first:middle]:
            first = middle
        else:
            behind = middle
    return first


def _expected(first: int, step: int, length: int) -> "array[int]":
    if step:
        return array("Q", range(first, first + length * step, step))
    return array("Q", (first,)) * length
