"""Prints what was found in images and in their guest, as text and as JSON. Pure."""

from typing import Any

from converter.contents.describe import Image, Place
from converter.contents.inspect import Findings
from converter.contents.superblocks import Signature, text
from node.text import printable, size

# Names of the partition types of Linux guests; other types are shown unchanged.
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


def image_json(image: Image) -> dict[str, Any]:
    """An image as JSON: sizes are bytes, and missing values are null."""
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
    """An image as text; control characters from the image are escaped."""
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


def findings_text(findings: Findings) -> str:
    """The findings as text, one on each line."""
    lines = [
        f"{one.file}:{one.line}: {one.tag}={one.value} is on none of the disks given: {one.text}"
        for one in findings.missing
    ]
    lines += [f"{one.file}:{one.line}: {one.interface}: {one.value}" for one in findings.addresses]
    lines += [f"warning: {warning}" for warning in findings.warnings]
    return "".join(f"{printable(line)}\n" for line in lines)


def findings_json(findings: Findings) -> dict[str, Any]:
    """The findings as JSON."""
    return {
        "missing": [one._asdict() for one in findings.missing],
        "addresses": [one._asdict() for one in findings.addresses],
        "warnings": list(findings.warnings),
    }


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
