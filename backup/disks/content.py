"""What of a disk goes into a backup: all of its bytes, but for those that nobody needs."""

import heapq
import os
from array import array
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

from backup import KIT_VERSION
from backup.disks import free_blocks, least
from backup.disks.free_blocks import NotCertainError
from backup.disks.raw_size import EXT
from backup.disks.smallest import smallest_target
from backup.options import Origin
from backup.streams.stream import FRAME_SIZE, MAX_HEADER, Area, Header
from converter.contents import swap_header
from converter.contents.describe import DiskReport, Place, describe
from converter.contents.magics import others
from converter.contents.swap_header import SwapArea
from converter.engine.chunks import Chunk
from converter.engine.content import TargetContent
from converter.extents import Extent, Kind
from converter.reading import Read, Window
from converter.sources.base import Disk, Source
from node.errors import KitError
from node.isolation.confined import ConfinedError, confined
from node.log import log
from node.text import size as text_size

# Free runs that are left out of a disk, the largest ones: each takes memory, and a guest can make
# thousands of file systems.
MAX_RUNS = 1 << 15
ZERO_FRAMES = 512  # frames of zeros in one piece of work
_CERTAIN, _DOUBT = b"+", b"-"


@dataclass(frozen=True)
class Plan:
    """The stream's header, and the disk's content with zeros where nothing is needed."""

    header: Header
    content: TargetContent


def planned(source: Source, fd: int, origin: Origin) -> Plan:
    """Looks at a disk and decides what of it is not needed; called before threads are begun.

    Args:
        source: the disk.
        fd: of it, for a process that looks at its file systems.
        origin: whose disk it is.

    Raises:
        KitError: it cannot be read.
    """
    with closing(Disk(source)) as disk:
        try:
            report = describe(disk.read, source.size)
        except ValueError as error:
            raise KitError(
                f"disk {source.name}: {error}", hint="does its device have the size it had before?"
            ) from error
        for warning in report.warnings:
            log.warning("%s", warning)
        used: dict[int, int] = {}
        swap, free = list[tuple[int, int]](), list[tuple[int, int]]()
        for area in _awake(report.swap):
            if pages := _swap_pages(disk.read, area):
                swap.append(pages)
                used[area.start] = least.SWAP
        for place in report.places:
            if found := _ext(place, disk.read, fd):
                used[place.start] = found.used
                free = heapq.nlargest(MAX_RUNS, [*free, *found.free], key=lambda run: run[1])
        header = _limited(
            Header(
                disk_size=source.size,
                kit=KIT_VERSION,
                instance=origin.instance,
                disk=origin.disk,
                partition_table=report.table.kind if report.table else None,
                areas=tuple(areas(report, {} if report.table and report.table.warnings else used)),
                smallest=smallest_target(report, source, disk.read),
                left_out={"swap": sum(n for _, n in swap), "free": sum(n for _, n in free)},
            )
        )
    replaced = [Extent(start, length, Kind.ZERO) for start, length in sorted([*swap, *free])]
    return Plan(header, TargetContent(source, replaced, source.size))


def _limited(header: Header) -> Header:
    """The header, without its areas if it would be longer than an import reads.

    A GPT of a guest can have thousands of partitions.
    """
    if len(header.encode()) <= MAX_HEADER:
        return header
    log.warning("the %d areas of the disk are too many to be named", len(header.areas))
    return replace(header, areas=())


def frames(content: TargetContent) -> Iterator[Chunk]:
    """The frames of a stream: each a chunk with its parts; up to ZERO_FRAMES of zeros without."""
    zeros: tuple[int, int] | None = None
    for parts in _cut(content):
        start, end = parts[0].guest_offset, parts[-1].end
        is_zero = all(part.kind is Kind.ZERO for part in parts)
        if zeros and (not is_zero or end - zeros[0] > ZERO_FRAMES * FRAME_SIZE):
            yield Chunk(*zeros, ())
            zeros = None
        if is_zero:
            zeros = (zeros[0] if zeros else start, end)
        else:
            yield Chunk(start, end, tuple(parts))
    if zeros:
        yield Chunk(*zeros, ())


def _cut(content: TargetContent) -> Iterator[list[Extent]]:
    """The parts of each frame, or of some whole frames of zeros."""
    parts: list[Extent] = []
    for extent in content.extents():
        rest = extent
        while rest.length:
            begin = rest.guest_offset
            if rest.kind is Kind.ZERO and not parts and begin % FRAME_SIZE == 0:
                # Many frames at once: disks may have millions.
                length = min(rest.length // FRAME_SIZE, ZERO_FRAMES) * FRAME_SIZE
                if length:
                    yield [rest.cut(begin, begin + length)]
                    rest = rest.cut(begin + length, rest.end)
                    continue
            frame_end = min(begin - begin % FRAME_SIZE + FRAME_SIZE, content.end)
            parts.append(rest.cut(begin, min(rest.end, frame_end)))
            if rest.end < frame_end:
                break
            yield parts
            parts = []
            rest = rest.cut(frame_end, rest.end)


def areas(report: DiskReport, used: Mapping[int, int]) -> Iterator[Area]:
    """What is on a disk, for a stream's header.

    Args:
        report: what was found.
        used: how many bytes the areas need at least that can become smaller, by their start.
    """
    for place in report.places:
        partition = place.partition.number if place.partition else None
        if not place.holds and partition is not None:
            yield Area(place.start, place.length, "unknown", partition=partition)
        for found in place.holds:
            yield Area(
                *(place.start, place.length, found.type, found.uuid, found.label, partition),
                used=used.get(place.start),
            )


def _awake(areas: tuple[SwapArea, ...]) -> tuple[SwapArea, ...]:
    """The swap areas whose pages nobody needs.

    A system that is hibernated in one of them reads pages from all of them when it wakes up. So
    then there are none.
    """
    for area in areas:
        if area.hibernated:
            log.info("swap at byte %d: a system is hibernated in it: all swap is kept", area.start)
            return ()
    return areas


def _swap_pages(read: Read, area: SwapArea) -> tuple[int, int] | None:
    """All pages of a swap area but the first, as its header has them; start and length."""
    header = swap_header.parsed(read(area.start, area.page_size))
    if header is None:
        return None
    return area.start + area.page_size, header.last_page * area.page_size


class _Ext(NamedTuple):
    """A file system of ext2, 3 or 4; bytes."""

    used: int  # what it needs at least
    free: list[tuple[int, int]]  # start on the disk, and length


def _ext(place: Place, read: Read, fd: int) -> _Ext | None:
    """Looks for the free blocks of a file system; None if it is none of ext, or in doubt."""
    window = Window(read, place.start, place.length)
    if [found.type for found in place.holds if found.type in EXT] == []:
        return None
    where = f"partition {place.partition.number}" if place.partition else "the disk"
    if len(place.holds) > 1 or others(window):
        log.info("%s: an ext file system and something else: all its blocks are kept", where)
        return None

    def work() -> bytes:
        def from_start(offset: int, length: int) -> bytes:
            found = os.pread(fd, length, place.start + offset)
            if len(found) < length:
                raise NotCertainError("it cannot be read")
            return found

        try:
            used = least.ext(free_blocks.superblock(from_start, place.length))
            runs = free_blocks.free_runs(from_start, place.length)
            found = sorted(heapq.nlargest(MAX_RUNS, runs, key=lambda run: run[1]))
        except (NotCertainError, OSError) as error:
            return _DOUBT + str(error).encode()
        return _CERTAIN + array("Q", [used, *(word for run in found for word in run)]).tobytes()

    try:
        told = confined(work, readable=fd, most=9 + 16 * MAX_RUNS)
        if not told.startswith(_CERTAIN):
            raise ConfinedError(told[1:].decode(errors="replace") or "it said nothing")
        used, free = _checked(told[1:], place.length)
    except ConfinedError as error:
        log.info("%s: all blocks of its file system are kept: %s", where, error)
        return None
    total = sum(length for _, length in free)
    log.info("%s: %s of free blocks are left out", where, text_size(total))
    return _Ext(used, [(place.start + start, length) for start, length in free])


def _checked(told: bytes, size: int) -> tuple[int, list[tuple[int, int]]]:
    """What is needed, and runs in order within the file system, whatever the process has said."""
    if len(told) % 16 != 8:
        raise ConfinedError("what it says cannot be")
    used, *words = array("Q", told)
    place, runs = 0, []
    for start, length in zip(words[::2], words[1::2], strict=True):
        if not place <= start < start + length <= size:
            raise ConfinedError("what it says cannot be")
        runs.append((start, length))
        place = start + length
    return used, runs
