"""What is on an image, and what a copy would do: what `--info` shows. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from converter.contents import gpt, partitions, swap_header
from converter.contents.partitions import Partition, Table
from converter.contents.superblocks import Signature, signatures, text, uuid_text
from converter.contents.swap_header import SwapArea
from converter.extents import Extent, Kind
from converter.reading import Read, Window
from node.text import printable, size

# Names for what is met on Linux guests; all else is shown as it is.
TYPES = {
    "0x05": "extended",
    "0x07": "NTFS or exFAT",
    "0x0c": "FAT32",
    "0x82": "Linux swap",
    "0x83": "Linux",
    "0x8e": "Linux LVM",
    "0xef": "EFI system",
    "0xfd": "Linux RAID",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux",
    "21686148-6449-6e6f-744e-656564454649": "BIOS boot",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root (x86-64)",
    "a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI system",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Microsoft basic data",
}


@dataclass(frozen=True)
class Place:
    """The whole disk or a partition of it, and what its bytes say it holds."""

    partition: Partition | None
    start: int
    length: int
    holds: tuple[Signature, ...]


@dataclass(frozen=True)
class Contents:
    """What is on a disk; bytes."""

    size: int
    table: Table | None
    places: tuple[Place, ...]
    swap: tuple[SwapArea, ...]
    gpt: str | None  # what becomes of a GPT on a larger target
    warnings: tuple[str, ...]

    @property
    def tags(self) -> frozenset[tuple[str, str]]:
        """By what a guest can name what is here: UUID, LABEL, PARTUUID, PARTLABEL, and its name."""
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
    """What a copy has to do; bytes of the disk, `stored` bytes of the source."""

    stored: int
    read: int
    zeros: int
    swap: int


@dataclass(frozen=True)
class Image:
    """A source as --info shows it."""

    name: str
    format: str
    contents: Contents
    work: Work
    features: Mapping[str, str] = field(default_factory=dict)


def describe(read: Read, size: int) -> Contents:
    """Looks at a disk of `size` bytes; a few KiB of each partition are read.

    Raises:
        ValueError: `read` gave less than was asked for.
    """
    table = partitions.table(read, size)
    found = swap_header.find_areas(read, size)
    # A megabyte more stands for any larger target.
    repair = gpt.repaired(read, size, size + (1 << 20))
    windows: list[tuple[Partition | None, Window]] = [(None, Window(read, 0, size))]
    if table is not None:
        windows = [(one, Window(read, one.start, one.length)) for one in table.partitions]
    places = tuple(
        Place(partition, window.start, window.length, tuple(_holds(window, found.areas)))
        for partition, window in windows
    )
    why = repair.why if repair else None
    return Contents(size, table, places, found.areas, why, found.warnings)


def work(extents: Iterable[Extent], areas: Sequence[SwapArea]) -> Work:
    """What a copy of a source would do, its swap made anew.

    Args:
        extents: all of the source's, in order.
        areas: its swap areas, in order.
    """
    stored = read = zeros = 0
    for extent in extents:
        dropped = sum(
            max(0, min(extent.end, area.start + area.length) - max(extent.start, area.start))
            for area in areas
        )
        if extent.kind is Kind.ZERO:
            zeros += extent.length - dropped
        else:
            stored += extent.size if extent.kind is Kind.COMPRESSED else extent.length
            read += extent.length - dropped
    return Work(stored, read, zeros, sum(area.length for area in areas))


def image_json(image: Image) -> dict[str, Any]:
    """An image as JSON: sizes are bytes, and what is not there is null."""
    contents = image.contents
    table = contents.table
    return {
        "name": image.name,
        "format": image.format,
        "features": dict(image.features),
        "virtual_size": contents.size,
        "allocated_size": image.work.stored,
        "partition_table": table and {"type": table.kind, "uuid": table.uuid},
        "contents": [
            {
                "partition": place.partition and place.partition.number,
                "start": place.start,
                "size": place.length,
                "partition_type": place.partition and place.partition.type,
                "partition_uuid": (place.partition and place.partition.uuid) or None,
                "partition_label": (place.partition and place.partition.name) or None,
                "holds": [found._asdict() for found in place.holds],
            }
            for place in contents.places
        ],
        "swap": [
            {
                "start": area.start,
                "size": area.length,
                "page_size": area.page_size,
                "byte_order": area.byteorder,
                "uuid": str(area.uuid),
                "label": text(area.label),
                "hibernated": area.hibernated,
            }
            for area in contents.swap
        ],
        "copy": {
            "read_bytes": image.work.read,
            "zero_bytes": image.work.zeros,
            "swap_bytes": image.work.swap,
            "gpt": contents.gpt,
        },
        "warnings": list(contents.warnings),
    }


def render(image: Image) -> str:
    """An image for people; what comes from the image itself cannot steer their terminal."""
    contents = image.contents
    lines = [
        f"{image.name}: {image.format}, {size(contents.size)}, {size(image.work.stored)} allocated",
        *(f"  {name}: {value}" for name, value in image.features.items()),
    ]
    table = contents.table
    if table is not None:
        lines.append(f"  partition table: {table.kind}, {table.uuid or 'unreadable'}")
    for place in contents.places:
        lines.append(f"  {_where(place)}: {', '.join(map(_what, place.holds)) or 'unknown'}")
    lines.append(
        f"  a copy reads {size(image.work.read)}, makes {size(image.work.zeros)} zero, "
        f"drops {size(image.work.swap)} of swap"
    )
    for area in contents.swap:
        asleep = f", a hibernated system is in it ({area.hibernated})" if area.hibernated else ""
        lines.append(
            f"  swap at byte {area.start} is made anew: UUID {area.uuid}, "
            f"pages of {size(area.page_size)}, {area.byteorder}-endian{asleep}"
        )
    if contents.gpt:
        lines.append(f"  on a larger target, {contents.gpt}")
    lines += [f"  warning: {warning}" for warning in contents.warnings]
    return "".join(f"{printable(line)}\n" for line in lines)


def _holds(window: Window, areas: Iterable[SwapArea]) -> Iterator[Signature]:
    yield from signatures(window)
    for area in areas:
        if area.start == window.start:
            yield Signature("swap", uuid_text(area.uuid.bytes), text(area.label))


def _where(place: Place) -> str:
    partition = place.partition
    if partition is None:
        return "whole disk"
    kind = TYPES.get(partition.type, partition.type)
    name = f" {partition.name!r}" if partition.name else ""
    return f"partition {partition.number}{name} ({size(place.length)}, {kind})"


def _what(found: Signature) -> str:
    uuid = f" UUID {found.uuid}" if found.uuid else ""
    label = f" label {found.label!r}" if found.label else ""
    return f"{found.type}{uuid}{label}"
