"""Renders and edits /etc/fstab (fstab(5))."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TITLES = ("# file system", "mount point", "type", "options", "dump", "pass")
# Specs that a new file system or swap area does not have any more.
_BY_CONTENT = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/disk/by-")
_ESCAPES = str.maketrans({"\\": r"\134", " ": r"\040", "\t": r"\011", "\n": r"\012"})


@dataclass(frozen=True)
class Entry:
    """One line of fstab; `mountpoint` is "none" for swap, `passno` is the order of fsck."""

    spec: str
    mountpoint: str
    fstype: str
    options: str = "defaults"
    passno: int = 0


def render(entries: Sequence[Entry]) -> str:
    """The text of an fstab with aligned columns."""
    rows = [_TITLES, *(_fields(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    return "".join(_line(row, widths) for row in rows)


def without_doubles(
    text: str, ours: Sequence[Entry], names: Mapping[str, str]
) -> tuple[str, tuple[Entry, ...]]:
    """Removes those of our entries from an fstab that another entry replaces.

    systemd makes one unit for each mount point and swap device, and fails if two lines define the
    same (systemd-fstab-generator(8)). Another entry that mounts our device elsewhere replaces ours,
    too; but not for the root, and not if the other entry mounts a subvolume.

    Args:
        text: the present fstab.
        ours: the entries that we wrote into it.
        names: other names of our entries' devices, mapped to the entry's own (`UUID=...`).

    Returns:
        The text, and the entries that were removed.
    """
    lines = text.splitlines(keepends=True)
    parsed = ((number, _parsed(line, names)) for number, line in enumerate(lines))
    at = {number: found for number, found in parsed if found}
    own: dict[int, Entry] = {}
    for entry in ours:
        line = _parsed(" ".join(_fields(entry)), names)
        places = [number for number, found in at.items() if found == line]
        if places:  # the first is ours; a site may have added the same line
            own[places[0]] = entry
    others = [found for number, found in at.items() if number not in own]
    doubles = {
        number: entry
        for number, entry in own.items()
        if any(_same_unit(at[number], other) for other in others)
    }
    kept = "".join(line for number, line in enumerate(lines) if number not in doubles)
    return kept, tuple(doubles.values())


def moved(text: str, spec: str, fstype: str) -> tuple[str, tuple[str, ...]]:
    """The fstab of a guest whose root file system was made anew, and who has no other disk left.

    Swap areas that are named by UUID or label are commented out: systemd waits 90 s for each at
    every boot. File systems that are named so get `nofail`: without it, the boot ends in a shell.

    Args:
        text: the fstab.
        spec: of the new root file system, as `UUID=...`.
        fstype: its type.

    Returns:
        The new text, and the lines of others than the root that were changed, as they were.
    """
    lines, changed = [], []
    for line in text.splitlines(keepends=True):
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#"):
            lines.append(line)
        elif fields[1] == "/":
            lines.append(_with_fields(line, {0: spec, 2: fstype}))
        elif not fields[0].replace('"', "").startswith(_BY_CONTENT) or _is_optional(fields[3:4]):
            lines.append(line)
        elif fields[2] == "swap":
            lines.append(f"# not in the backup: {line}")
            changed.append(line.strip())
        else:
            options = fields[3] if len(fields) > 3 else "defaults"
            if len(fields) > 3:
                lines.append(_with_fields(line, {3: f"{options},nofail"}))
            else:
                lines.append(f"{line.rstrip()} {options},nofail\n")
            changed.append(line.strip())
    return "".join(lines), tuple(changed)


def parsed(text: str) -> tuple[Entry, ...]:
    """The entries of an fstab, without quotes and escapes; lines of fewer than 3 fields are not."""
    found = []
    for line in text.splitlines():
        fields = [_unescaped(field) for field in line.split()]
        if len(fields) > 2 and not fields[0].startswith("#"):
            options = fields[3] if len(fields) > 3 else "defaults"
            found.append(Entry(fields[0].replace('"', ""), fields[1], fields[2], options))
    return tuple(found)


def root_spec(text: str) -> str | None:
    """The device of the root file system in an fstab, without quotes; None if it has none."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 2 and not fields[0].startswith("#") and fields[1] == "/":
            return fields[0].replace('"', "")
    return None


def _with_fields(line: str, changes: Mapping[int, str]) -> str:
    """Replaces fields of a line, and keeps the space between them."""
    parts = re.split(r"(\s+)", line)
    first = 0 if parts[0] else 2  # behind space at the start
    for number, text in changes.items():
        parts[first + 2 * number] = text
    return "".join(parts)


def _is_optional(options: Sequence[str]) -> bool:
    return any(option in ("noauto", "nofail") for each in options for option in each.split(","))


def _parsed(line: str, names: Mapping[str, str]) -> tuple[str, ...] | None:
    """Device, mount point, type and options of a line, normalized; None for a comment."""
    fields = line.split()
    if len(fields) < 3 or fields[0].startswith("#"):
        return None
    spec = fields[0].replace('"', "").replace("/dev/disk/by-uuid/", "UUID=")
    return names.get(spec, spec), fields[1].rstrip("/") or "/", fields[2], *fields[3:4]


def _same_unit(own: tuple[str, ...], other: tuple[str, ...]) -> bool:
    same_place = own[1] == other[1] and own[1].startswith("/")
    # A subvolume is a part of the file system that our entry mounts (btrfs(5)).
    is_part = any(option.startswith("subvol") for option in "".join(other[3:]).split(","))
    same_device = own[0] == other[0] and own[1] != "/" and own[2] != "tmpfs" and not is_part
    return same_place or same_device


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _fields(entry: Entry) -> tuple[str, ...]:
    fields = (entry.spec, entry.mountpoint, entry.fstype, entry.options)
    return (*(field.translate(_ESCAPES) for field in fields), "0", str(entry.passno))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip() + "\n"
