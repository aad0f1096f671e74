"""The tables of a qcow2 file: where they stand, each by itself, in the file, apart from others.

All from QEMU's docs/interop/qcow2; limits that are QEMU's own are marked so. No input or output.
"""

import heapq
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import compress, islice, pairwise
from operator import eq
from typing import NamedTuple

from converter.qcow2_header import TRUNCATED, FormatError, Header, Read, read_exactly

ENTRY = 8  # bytes of an entry of the L1 and the refcount table
OFFSET = 0x00FF_FFFF_FFFF_FE00  # bits 9-55 of L1 and L2 entries
_L1_RESERVED = 0x7F00_0000_0000_01FF
_REFCOUNT_RESERVED = 0x1FF

# offset and entries of its L1 table, lengths of ID and name, times, VM state, length of extra data
_SNAPSHOT = struct.Struct(">QIHHIIQII")

# QEMU's
_MAX_L1 = 32 << 20
_MAX_REFCOUNT_TABLE = 8 << 20
_MAX_SNAPSHOTS = 65536
_MAX_SNAPSHOT_EXTRA = 1024
_MAX_SNAPSHOT_TABLE = 64 << 20
_MAX_BITMAP_DIRECTORY = 64 << 20

_PIECE = 1 << 16  # entries that are sorted at a time


class Area(NamedTuple):
    """Whole clusters of the file that belong together, `start` to `end` (bytes)."""

    start: int
    end: int
    what: str


class Metadata:
    """The active L1 table, and all that must not be taken for the disk's data.

    Args:
        l1: the active L1 table, checked.
        tables: offsets of L2 tables and refcount blocks, each one cluster, sorted.
        areas: the others, sorted; none overlaps another nor one of `tables`.
    """

    def __init__(
        self, l1: "array[int]", tables: "array[int]", areas: list[Area], cluster_size: int
    ) -> None:
        self.l1 = l1
        self._tables = tables
        self._areas = areas
        self._aligned = ~(cluster_size - 1)

    def holder(self, start: int, end: int) -> str | None:
        """What metadata is in this piece of the file, or None."""
        nearest = bisect_left(self._areas, (end,)) - 1  # the last one that begins before the end
        if nearest >= 0 and self._areas[nearest].end > start:
            return self._areas[nearest].what
        table = bisect_left(self._tables, start & self._aligned)
        if table < len(self._tables) and self._tables[table] < end:
            return f"the L2 table or refcount block at {self._tables[table]}"
        return None


def numbers(raw: bytes) -> "array[int]":
    """The 64-bit big-endian numbers of a table."""
    result = array("Q", raw)
    if sys.byteorder == "little":
        result.byteswap()
    return result


def inside(what: str, offset: int, length: int, file_size: int) -> None:
    """Makes sure that the file has this piece.

    Raises:
        FormatError: it does not.
    """
    missing = offset + length - file_size
    if missing > 0:
        raise FormatError(
            f"{what} stands at {offset} in the file, which ends at {file_size}:"
            f" at least {missing} bytes are missing",
            TRUNCATED,
        )


def survey(header: Header, read: Read, file_size: int) -> Metadata:
    """Checks every table but the L2 tables' contents.

    Raises:
        FormatError: a table is too small or too large, cut off, misplaced, or lies upon another.
    """
    needed = -(-header.size // header.l2_span)
    if header.l1_size < needed:
        raise FormatError(
            f"the L1 table has {header.l1_size} entries, the disk of {header.size} bytes"
            f" needs {needed}"
        )
    areas = sorted(_areas(header, read, file_size))
    for one, other in pairwise(areas):
        if other.start < one.end:
            raise FormatError(f"{one.what} and {other.what} overlap at {other.start}")

    cluster = header.cluster_size
    l1 = numbers(read_exactly(read, header.l1_offset, header.l1_size * ENTRY))
    tables = _pointers("L1", l1, _L1_RESERVED, cluster, file_size)
    refcounts = numbers(
        read_exactly(read, header.refcount_table_offset, header.refcount_table_size)
    )
    tables += _pointers("refcount", refcounts, _REFCOUNT_RESERVED, cluster, file_size)
    tables = _sorted(tables)
    _refuse_overlaps(tables, areas)
    return Metadata(l1, tables, areas, cluster)


def _areas(header: Header, read: Read, file_size: int) -> Iterator[Area]:
    """All but the tables that other tables point to.

    The file must have all of each, as QEMU reads them, which need not be whole clusters: an L1
    table often stands last, and its last cluster is not filled.
    """
    cluster = header.cluster_size

    def area(what: str, offset: int, length: int, most: int) -> Area:
        if length > most:
            raise FormatError(f"{what} has {length} bytes, more than {most}")
        if offset % cluster:
            raise FormatError(f"{what} stands at {offset}, which is no multiple of a cluster")
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
        if entries:  # its L1 table is not looked into: the disk does not depend on it
            yield area(f"the L1 table of snapshot {number}", offset, entries * ENTRY, _MAX_L1)
    yield area("the snapshot table", start, at - start, _MAX_SNAPSHOT_TABLE)


def _pointers(
    what: str, table: "array[int]", reserved: int, cluster: int, file_size: int
) -> "array[int]":
    """Where the tables stand that a table points to."""
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


def _sorted(offsets: "array[int]") -> "array[int]":
    """Sorted in pieces, since a list of all would take five times their space."""
    pieces = (offsets[at : at + _PIECE] for at in range(0, len(offsets), _PIECE))
    return array("Q", heapq.merge(*(array("Q", sorted(piece)) for piece in pieces)))


def _refuse_overlaps(tables: "array[int]", areas: list[Area]) -> None:
    for area in areas:
        first = bisect_left(tables, area.start)
        if first < len(tables) and tables[first] < area.end:
            raise FormatError(
                f"an L2 table or refcount block stands at {tables[first]}, in {area.what}"
            )
    twice = next(compress(tables, map(eq, tables, islice(tables, 1, None))), None)
    if twice is not None:
        raise FormatError(f"the cluster at {twice} is used for two tables")
