"""/etc/fstab (fstab(5))."""

from collections.abc import Sequence
from dataclasses import dataclass

_TITLES = ("# file system", "mount point", "type", "options", "dump", "pass")
_ESCAPES = str.maketrans({"\\": r"\134", " ": r"\040", "\t": r"\011", "\n": r"\012"})


@dataclass(frozen=True)
class Entry:
    """One line: what is mounted, where ("none" for swap), and how. `passno` is fsck's order."""

    spec: str
    mountpoint: str
    fstype: str
    options: str = "defaults"
    passno: int = 0


def render(entries: Sequence[Entry]) -> str:
    """The text of an fstab, its columns aligned."""
    rows = [_TITLES, *(_fields(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    return "".join(_line(row, widths) for row in rows)


def _fields(entry: Entry) -> tuple[str, ...]:
    fields = (entry.spec, entry.mountpoint, entry.fstype, entry.options)
    return (*(field.translate(_ESCAPES) for field in fields), "0", str(entry.passno))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip() + "\n"
