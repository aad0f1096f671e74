"""Shrinks a disk in a temporary file."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from backup.disks import content, free_blocks, raw_size
from backup.disks.smallest import last_data, smallest_target
from backup.shrinking.plan import CannotShrinkError, Shrink, disk_size, planned
from backup.shrinking.spool import Spool
from backup.streams.stream import Header, StreamError
from converter import swap
from converter.contents import gpt, partitions
from converter.contents.describe import DiskReport, describe
from converter.extents import Extent, Kind
from converter.reading import Read
from converter.sources.base import Disk, Source
from node.appliance import NotResizedError, shrink_ext
from node.devices import loop
from node.devices.claim import Backing
from node.isolation.mount import mounted
from node.log import log
from node.text import size as text_size


def shrink(spool: Spool, header: Header, target_size: int, *, use_kvm: bool) -> None:
    """Shrinks the last file system or swap area, and the disk to the target's size.

    Args:
        spool: the disk of a stream that was right.
        header: the stream's.
        target_size: bytes.
        use_kvm: see `node.appliance.open_guest`.

    Raises:
        CannotShrinkError: what is on the disk cannot be made so small.
        StreamError: the header does not say what is on the disk.
        KitError: a tool or the temporary file fails.
    """
    with spool.source() as source, closing(Disk(source)) as disk:
        report = _described(disk, source)
        plan = planned(_as_found(header, report, source, disk.read), target_size)
        end = _end_of_content(report, plan, disk.read)
        _require_zeros(source, plan, end, header.smallest)
        table = _table(disk.read, report, plan, target_size)
    log.info(
        "%s: %s becomes %s", plan.name, text_size(end - plan.area.start), text_size(plan.length)
    )
    if end > plan.end:
        if plan.area.type == "swap":
            (area,) = (area for area in report.swap if area.start == plan.area.start)
            spool.write(swap.new_header(area, plan.length), plan.area.start)
            end = plan.end
        else:
            end = plan.area.start + _resized(spool, header, plan, end, use_kvm=use_kvm)
    spool.cut(end)
    spool.cut(target_size)
    for extent in table:
        spool.write(extent.literal or bytes(extent.length), extent.guest_offset)
    _require_shrunk(spool, report, plan)


def _described(disk: Disk, source: Source) -> DiskReport:
    try:
        return describe(disk.read, source.size)
    except ValueError as error:
        raise StreamError(f"its disk cannot be described: {error}") from error


def _as_found(header: Header, report: DiskReport, source: Source, read: Read) -> Header:
    """What the header should say, by what is on the disk; only `used` is the stream's."""
    used = {area.start: area.used for area in header.areas if area.used}
    found = replace(
        header,
        areas=tuple(content.areas(report, used)),
        partition_table=report.table.kind if report.table else None,
        smallest=smallest_target(report, source, read),
    )
    if found.areas != header.areas or (report.table and report.table.warnings):
        raise StreamError("its header does not say what is on its disk")
    return found


def _end_of_content(report: DiskReport, plan: Shrink, read: Read) -> int:
    """Where the file system or swap area ends, by itself: its partition may be larger."""
    start = plan.area.start
    stated = raw_size.of_file_system(
        lambda offset, length: read(start + offset, length), plan.area.length
    )
    if stated is None or stated > plan.area.length:
        raise CannotShrinkError(f"the size of the {plan.name} is not certain", report.size)
    return start + stated


def _require_zeros(source: Source, plan: Shrink, end: int, smallest: int) -> None:
    """Raises CannotShrinkError if bytes of something else are behind the last area's content."""
    upto = plan.area.start + plan.area.length
    if last_data(source, end, upto) > end:
        raise CannotShrinkError(
            f"there are bytes of something else behind the {plan.name}", smallest
        )


def _resized(spool: Spool, header: Header, plan: Shrink, end: int, *, use_kvm: bool) -> int:
    """Shrinks a file system; returns how many bytes it has then."""
    start = plan.area.start
    # By this name the kernel tells which file a loop device has.
    name = Path(f"/proc/self/fd/{spool.fd}").readlink()
    backing = Backing(name, os.fstat(spool.fd).st_size, spool.fd, is_block=False)
    try:
        with (
            # libguestfs makes its sockets in /tmp. On this tmpfs nothing stays after a SIGKILL.
            mounted("tmpfs", Path("/tmp"), fstype="tmpfs"),
            loop.attached(backing, start, end - start) as device,
        ):
            shrink_ext(device, plan.length, use_kvm=use_kvm)
    except NotResizedError as error:
        raise CannotShrinkError(
            f"the {plan.name} cannot be shrunk to {plan.length} bytes: {error}",
            disk_size(header, start + error.smallest) if error.smallest else header.smallest,
        ) from error
    superblock = os.pread(spool.fd, free_blocks.SUPERBLOCK_SIZE, start + free_blocks.SUPERBLOCK)
    return free_blocks.stated_size(superblock)


def _table(read: Read, report: DiskReport, plan: Shrink, target_size: int) -> Sequence[Extent]:
    """What of the partition table changes; none of it is behind the target's end."""
    number = plan.area.partition
    if report.table is None or number is None:
        return ()
    if report.table.kind != "gpt":
        mbr = read(0, gpt.MBR_SIZE)
        changed = partitions.with_sectors(mbr, number, plan.length // partitions.SECTOR)
        return [Extent(0, len(changed), Kind.LITERAL, literal=changed)]
    ends = {number: plan.end // report.table.sector - 1}
    repair = gpt.repaired(read, report.size, target_size, ends)
    why = "it is not certain" if repair is None else repair.why
    if repair and repair.extents and repair.extents[0].guest_offset > 0:
        why = "its MBR is hybrid, with partitions of its own"
    elif repair and repair.extents:
        return repair.extents
    raise CannotShrinkError(f"its partition table is not changed: {why}", report.size)


def _require_shrunk(spool: Spool, before: DiskReport, plan: Shrink) -> None:
    """Raises StreamError unless the disk holds what it held, and the last area as planned."""
    with spool.source() as source, closing(Disk(source)) as disk:
        report = _described(disk, source)
        expected = [*content.areas(before, {})]
        place = expected.index(replace(plan.area, used=None))
        length = plan.length if plan.area.partition is not None else source.size
        expected[place] = replace(expected[place], length=length)
        found = [*content.areas(report, {})]
        end = _end_of_content(report, replace(plan, area=expected[place]), disk.read)
    if found != expected or end > plan.end or (report.table and report.table.warnings):
        raise CannotShrinkError(
            f"the {plan.name} is not what it should be after it was shrunk", before.size
        )
