"""Loads the tables of a qcow2 file, and checks that all are in the file and none overlap.

By QEMU's docs/interop/qcow2; limits that are QEMU's own are marked so. No input or output.
"""

import heapq
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import compress, count, islice
from operator import gt
from typing import NamedTuple

from converter.formats.qcow2_header import TRUNCATED, FormatError, Header, read_exactly
from converter.reading import Read

ENTRY = 8  # bytes of an entry of the L1 and the refcount table
OFFSET = 0x00FF_FFFF_FFFF_FE00  # bits 9-55 of L1 and L2 entries
_L1_RESERVED = 0x7F00_0000_0000_01FF
_REFCOUNT_RESERVED = 0x1FF

# offset and entries of its L1 table, lengths of ID and name, times, VM state, length of extra data
_SNAPSHOT = struct.Struct(">QIHHIIQII")

# QEMU's limits: bytes, except the number of snapshots
_MAX_L1 = 32 << 20
_MAX_REFCOUNT_TABLE = 8 << 20
_MAX_SNAPSHOTS = 65536
_MAX_SNAPSHOT_EXTRA = 1024
_MAX_SNAPSHOT_TABLE = 64 << 20
_MAX_BITMAP_DIRECTORY = 64 << 20

_TABLE = "L2 table or refcount block"
_PIECE = 1 << 16  # entries sorted at once


class Area(NamedTuple):
    """A range of whole clusters of the file, from `start` to `end` (bytes), and its content."""

    start: int
    end: int
    what: str


class Metadata:
    """The active L1 table, and the ranges of the file that hold metadata.

    Args:
        l1: the active L1 table, checked.
        starts: of all ranges that hold metadata, in order.
        ends: of these ranges; they do not overlap.
        areas: the ranges that have a name; the others are L2 tables and refcount blocks.
    """

    def __init__(
        self, l1: "array[int]", starts: "array[int]", ends: "array[int]", areas: Iterable[Area]
    ) -> None:
        self.l1 = l1
        self._starts = starts
        self._ends = ends
        self._names = {area.start: area.what for area in areas}

    def holder(self, start: int, end: int) -> str | None:
        """The name of the metadata within a range of the file; None if there is none."""
        number = bisect_left(self._starts, end) - 1  # the last one that begins before the end
        if number < 0 or self._ends[number] <= start:
            return None
        found = self._starts[number]
        return self._names.get(found, f"the {_TABLE} at {found}")


def numbers(raw: bytes) -> "array[int]":
    """The 64-bit big-endian numbers of a table."""
    result = array("Q", raw)
    if sys.byteorder == "little":
        result.byteswap()
    return result


def inside(what: str, offset: int, length: int, file_size: int) -> None:
    """Checks that a range lies within the file.

    Raises:
        FormatError: it does not.
    """
    missing = offset + length - file_size
    if missing > 0:
        raise FormatError(
            f"{what} is at {offset} in the file, which ends at {file_size}:"
            f" at least {missing} bytes are missing",
            TRUNCATED,
        )


def load_tables(header: Header, read: Read, file_size: int) -> Metadata:
    """Checks all tables, except the entries of the L2 tables.

    Raises:
        FormatError: a table is too small, too large, truncated, misaligned, or overlaps another.
    """
    needed = -(-header.size // header.l2_span)
    if header.l1_size < needed:
        raise FormatError(
            f"the L1 table has {header.l1_size} entries, the disk of {header.size} bytes"
            f" needs {needed}"
        )
    cluster = header.cluster_size
    areas = list(_areas(header, read, file_size))
    # Before the tables are read: if two overlap, the wrong one could be reported as damaged.
    _disjoint(array("Q"), areas, array("Q"), cluster)
    l1_offset = header.l1_offset if header.l1_size else 0  # without entries it may be anything
    l1 = numbers(read_exactly(read, l1_offset, header.l1_size * ENTRY))
    tables = _pointers("L1", l1, _L1_RESERVED, cluster, file_size)
    refcounts = numbers(
        read_exactly(read, header.refcount_table_offset, header.refcount_table_size)
    )
    tables += _pointers("refcount", refcounts, _REFCOUNT_RESERVED, cluster, file_size)
    return _disjoint(l1, areas, tables, cluster)


def _areas(header: Header, read: Read, file_size: int) -> Iterator[Area]:
    """The metadata ranges, except tables that other tables point to.

    The file must have all of each, but not always whole clusters: an L1 table is often the last
    thing in a file, and its last cluster is not filled.
    """
    cluster = header.cluster_size

    def area(what: str, offset: int, length: int, most: int) -> Area:
        if length > most:
            raise FormatError(f"{what} has {length} bytes, more than {most}")
        if offset % cluster:
            raise FormatError(f"{what} is at {offset}, which is no multiple of the cluster size")
        inside(what, offset, length, file_size)
        return Area(offset, offset + length + -length % cluster, what)

    yield Area(0, cluster, "the header")
    offset, length = header.refcount_table_offset, header.refcount_table_size
    yield area("the refcount table", offset, length, _MAX_REFCOUNT_TABLE)
    if header.l1_size:
        yield area("the L1 table", header.l1_offset, header.l1_size * ENTRY, _MAX_L1)
    if header.bitmaps:
        _, offset, length = header.bitmaps
        yield area("the bitmap directory", offset, length, _MAX_BITMAP_DIRECTORY)
    if header.snapshots == 0:
        return
    if header.snapshots > _MAX_SNAPSHOTS:
        raise FormatError(f"it has {header.snapshots} snapshots, more than {_MAX_SNAPSHOTS}")
    start = at = header.snapshots_offset
    for number in range(header.snapshots):
        at += -at % ENTRY
        inside("the snapshot table", at, _SNAPSHOT.size, file_size)
        fields = _SNAPSHOT.unpack(read_exactly(read, at, _SNAPSHOT.size))
        offset, entries, id_length, name_length, *_, extra = fields
        if extra > _MAX_SNAPSHOT_EXTRA:
            raise FormatError(f"snapshot {number} has {extra} bytes of extra data")
        at += _SNAPSHOT.size + extra + id_length + name_length
        if entries:  # the entries of its L1 table are not checked: the disk does not use them
            yield area(f"the L1 table of snapshot {number}", offset, entries * ENTRY, _MAX_L1)
    yield area("the snapshot table", start, at - start, _MAX_SNAPSHOT_TABLE)


def _pointers(
    what: str, table: "array[int]", reserved: int, cluster: int, file_size: int
) -> "array[int]":
    """The offsets of the tables that a table points to."""
    forbidden = reserved | cluster - 1
    used = array("Q", filter(None, table))
    if any(map(forbidden.__and__, used)):
        number, entry = next((n, e) for n, e in enumerate(table) if e & forbidden)
        raise FormatError(
            f"entry {number} of the {what} table is {entry:#018x}:"
            " reserved bits are set, or it points to no cluster's start"
        )
    if reserved == _L1_RESERVED:
        used = array("Q", map(OFFSET.__and__, used))
    if used:
        if min(used) == 0:
            raise FormatError(f"an entry of the {what} table points to the header")
        last = max(used)
        inside(f"a table that the {what} table points to", last, cluster, file_size)
    return used


def _disjoint(l1: "array[int]", areas: list[Area], tables: "array[int]", cluster: int) -> Metadata:
    """All metadata, ordered; raises FormatError if any of it overlaps."""
    starts = _sorted(tables + array("Q", (area.start for area in areas)))
    ends = array("Q", map(cluster.__add__, tables)) + array("Q", (area.end for area in areas))
    ends = _sorted(ends)  # if none overlap, ends have the same order as starts
    overlap = next(compress(count(), map(gt, ends, islice(starts, 1, None))), None)
    if overlap is not None:
        place = starts[overlap + 1]
        holders = [area.what for area in areas if area.start <= place < area.end]
        holders += [f"an {_TABLE}"] * tables.count(place)
        raise FormatError(f"{holders[0]} and {holders[1]} overlap at {place}")
    return Metadata(l1, starts, ends, areas)


def _sorted(offsets: "array[int]") -> "array[int]":
    """A sorted copy. It sorts in pieces: one list of all would take five times the memory."""
    pieces = (offsets[at : at + _PIECE] for at in range(0, len(offsets), _PIECE))
    return array("Q", heapq.merge(*(array("Q", sorted(piece)) for piece in pieces)))
