"""What `instance-kit verify` prints of a backup, as text and as JSON; pure."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from backup.streams.stream import Area, Header
from backup.verifying import Verdict
from node.text import printable, size

MIB = 1 << 20
_REASONS = {"free": "of free blocks", "swap": "of swap"}


def as_line(name: str, verdict: Verdict) -> str:
    """A backup on one line."""
    parts = [name, verdict.state.value]
    if verdict.why:
        parts.append(verdict.why)
    if verdict.header:
        parts.append(f"{_disk(verdict.header)}, {size(verdict.header.disk_size)}")
    return printable(": ".join(parts))


def as_text(name: str, verdict: Verdict) -> str:
    """A backup with all that is in it."""
    parts = [name, verdict.state.value, *([verdict.why] if verdict.why else [])]
    lines = [": ".join(parts)]
    if verdict.header:
        lines += [f"  {line}" for line in _described(verdict.header)]
    elif verdict.kind:
        lines.append(f"  {verdict.kind.value}")
    return "\n".join(map(printable, lines))


def as_json(name: str, verdict: Verdict) -> dict[str, Any]:
    """A backup for programs, as instance-kit(8) describes it; all sizes are bytes."""
    header = verdict.header
    return {
        "file": name,
        "state": verdict.state.value,
        "why": verdict.why,
        "kind": verdict.kind and verdict.kind.value,
        "header": header
        and {
            "instance": header.instance or None,
            "disk": header.disk.get("index"),
            "disk_name": header.disk.get("name"),
            "size": header.disk_size,
            "smallest": header.smallest or header.disk_size,
            "partition_table": header.partition_table,
            "areas": [asdict(area) for area in header.areas],
            "left_out": dict(header.left_out),
            "kit": header.kit,
        },
    }


def _disk(header: Header) -> str:
    number = header.disk.get("index")
    disk = "a disk" if number is None else f"disk {number}"
    named = f" ({header.disk['name']})" if "name" in header.disk else ""
    return f"{disk}{named} of {header.instance or 'an instance that is not named'}"


def _described(header: Header) -> Iterator[str]:
    smallest = header.smallest or header.disk_size
    yield f"{_disk(header)}, {size(header.disk_size)} ({header.disk_size} bytes)"
    yield f"needs a disk of {-(-smallest // MIB)} MiB ({smallest} bytes) at least"
    yield f"partition table: {header.partition_table or 'none'}"
    for area in header.areas:
        yield _area(area)
    left_out = [
        f"{size(count)} {_REASONS.get(reason, f'({reason})')}"
        for reason, count in sorted(header.left_out.items())
        if count
    ]
    yield f"left out: {', '.join(left_out) or 'nothing'}"
    yield f"exported by ganeti-instance-kit {header.kit}"


def _area(area: Area) -> str:
    where = "whole disk" if area.partition is None else f"partition {area.partition}"
    words = [f"{area.type}, {size(area.length)} at byte {area.start}"]
    words += [f"UUID {area.uuid}"] if area.uuid else []
    words += [f"label {area.label}"] if area.label else []
    return f"{where}: {', '.join(words)}"
