"""The size of the smallest disk onto which a backup can be restored as it is."""

from collections.abc import Iterator
from contextlib import closing

from backup.disks import raw_size
from converter.buffers import PAGE, buffer, is_zero
from converter.contents import gpt
from converter.contents.describe import DiskReport
from converter.extents import Extent, Kind
from converter.reading import Read
from converter.sources.base import Source

SECTOR = 512
SCANNED = 1 << 30  # bytes behind the last partition that are looked at, at most
PIECE = 1 << 20


def smallest_target(report: DiskReport, source: Source, read: Read) -> int:
    """Bytes: what a partition table or file system needs, and up to the last byte that is not zero.

    Where anything is not certain, that is the whole disk.
    """
    copies = gpt.copies(read, source.size) if report.table and report.table.kind == "gpt" else None
    end = _end(report, read, source.size)
    backup = copies.backup if copies else None
    stop = backup.array * backup.sector if backup else source.size  # it is made anew elsewhere
    last = last_data(source, end, stop) if end < stop else source.size
    if copies:
        last += (copies.good.array_sectors + 1) * copies.good.sector
    last += -last % SECTOR
    if last >= source.size:
        return source.size
    if copies:
        repair = gpt.repaired(read, source.size, last)
        if repair is None or not repair.extents:
            return source.size
    return last


def _end(report: DiskReport, read: Read, size: int) -> int:
    """Where the last partition ends, or the only file system does."""
    if report.table is None:
        (whole,) = report.places
        head = read(0, min(raw_size.HEAD, size))
        return (raw_size.stated_size(head, size) if len(whole.holds) == 1 else None) or size
    if report.table.warnings:
        return size
    ends = [partition.end for partition in report.table.partitions]
    if report.table.kind != "gpt":
        ends.append(raw_size.end_of_slots(read(0, SECTOR)))  # of an extended partition, too
    return max(ends, default=size)


def last_data(source: Source, end: int, stop: int) -> int:
    """Where the last byte between `end` and `stop` that is not zero ends, or `end`.

    The source's end where that would take too long to find out.
    """
    view = buffer(PIECE)
    last, looked_at = end, 0
    with closing(source.reader()) as reader:
        for extent in _pieces(source, end - end % PAGE, stop):
            looked_at += extent.length
            if looked_at > SCANNED:
                return source.size
            piece = view[: extent.length]
            reader.read([extent], piece, extent.guest_offset)
            before = max(0, end - extent.guest_offset)
            piece[:before] = bytes(before)
            if not is_zero(piece):
                last = extent.guest_offset + len(bytes(piece).rstrip(b"\0"))
    return last


def _pieces(source: Source, start: int, stop: int) -> Iterator[Extent]:
    for extent in source.extents(start):
        if extent.guest_offset >= stop:
            return
        if extent.kind is not Kind.ZERO:
            end = min(extent.end, stop)
            for place in range(extent.guest_offset, end, PIECE):
                yield extent.cut(place, min(place + PIECE, end))
