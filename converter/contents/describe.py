"""Describes what is on a disk, and the work of a copy. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from converter.contents import gpt, partitions, swap_header
from converter.contents.partitions import Partition, Table
from converter.contents.superblocks import Signature, signatures, text, uuid_text
from converter.contents.swap_header import SwapArea
from converter.extents import Extent, Kind
from converter.reading import Read, Window


@dataclass(frozen=True)
class Place:
    """The whole disk or one partition, and the signatures found there; bytes."""

    partition: Partition | None
    start: int
    length: int
    holds: tuple[Signature, ...]


@dataclass(frozen=True)
class DiskReport:
    """What is on a disk; all figures are bytes."""

    size: int
    table: Table | None
    places: tuple[Place, ...]
    swap: tuple[SwapArea, ...]
    gpt: str | None  # what a copy to a larger target does with the GPT
    warnings: tuple[str, ...]

    @property
    def tags(self) -> frozenset[tuple[str, str]]:
        """The (tag, value) pairs by which a guest can refer to it: UUID, LABEL, PARTUUID, …."""
        named = [
            (tag, value)
            for place in self.places
            for found in place.holds
            for tag, value in (("UUID", found.uuid), ("LABEL", found.label))
        ]
        for partition in self.table.partitions if self.table else ():
            named += [("PARTUUID", partition.uuid), ("PARTLABEL", partition.name)]
        return frozenset((tag, value) for tag, value in named if value)


@dataclass(frozen=True)
class Work:
    """The work of a copy; bytes of the disk, except `stored`: bytes of the source."""

    stored: int
    read: int
    zeros: int
    swap: int


@dataclass(frozen=True)
class Image:
    """A source: what is on its disk, and the work of a copy."""

    name: str
    format: str
    contents: DiskReport
    work: Work
    features: Mapping[str, str] = field(default_factory=dict)


def describe(read: Read, size: int) -> DiskReport:
    """Describes a disk of `size` bytes; reads a few KiB of each partition.

    Raises:
        ValueError: `read` returned fewer bytes than asked for.
    """
    table = partitions.table(read, size)
    found = swap_header.find_areas(read, size)
    # One MiB more, as an example of a larger target.
    repair = gpt.repaired(read, size, size + (1 << 20))
    windows: list[tuple[Partition | None, Window]] = [(None, Window(read, 0, size))]
    if table is not None:
        windows = [(one, Window(read, one.start, one.length)) for one in table.partitions]
    places = tuple(
        Place(partition, window.start, window.length, tuple(_holds(window, found.areas)))
        for partition, window in windows
    )
    why = repair.why if repair else None
    return DiskReport(size, table, places, found.areas, why, found.warnings)


def work(extents: Iterable[Extent], areas: Sequence[SwapArea]) -> Work:
    """The work of a copy that makes the source's swap anew.

    Args:
        extents: all of the source's, in order.
        areas: its swap areas, in order.
    """
    stored = read = zeros = 0
    for extent in extents:
        dropped = sum(
            max(0, min(extent.end, area.start + area.length) - max(extent.guest_offset, area.start))
            for area in areas
        )
        if extent.kind is Kind.ZERO:
            zeros += extent.length - dropped
        else:
            stored += extent.stored_length if extent.kind is Kind.COMPRESSED else extent.length
            read += extent.length - dropped
    return Work(stored, read, zeros, sum(area.length for area in areas))


def _holds(window: Window, areas: Iterable[SwapArea]) -> Iterator[Signature]:
    yield from signatures(window)
    for area in areas:
        if area.start == window.start:
            yield Signature("swap", uuid_text(area.uuid.bytes), text(area.label))
