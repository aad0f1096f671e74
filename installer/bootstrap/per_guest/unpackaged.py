"""Finds the files of a guest that are not from packages, or differ from those of packages."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

INFO = "var/lib/dpkg/info"
STATUS = "var/lib/dpkg/status"
# The databases of dpkg and apt, and directories that are mounted, or empty in a cache.
_SKIPPED = (
    *("dev", "proc", "run", "sys", "tmp"),
    *("var/cache/apt", "var/lib/apt/lists", "var/lib/dpkg"),
)
# Where maintainer scripts change files of packages. Not /usr: its checksums would take seconds.
_CHANGED = ("etc/", "var/")
HEAD = 1 << 20  # of a file, in bytes


def made_by_scripts(root: Path) -> Iterator[tuple[str, int, bytes]]:
    """Path, permission bits and content (the first MiB) of each regular file that scripts made."""
    packaged = _packaged_files(root)
    for path in _files(root):
        relative = str(path.relative_to(root))
        digest = packaged.get(_place(relative))
        is_listed = _place(relative) in packaged
        if relative.endswith(".pyc") or (is_listed and not relative.startswith(_CHANGED)):
            continue
        data = path.read_bytes() if digest else _head(path)
        if digest and hashlib.md5(data, usedforsecurity=False).hexdigest() == digest:
            continue
        yield relative, stat.S_IMODE(path.lstat().st_mode), data[:HEAD]


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _files(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        here = Path(directory)
        names[:] = [name for name in names if str((here / name).relative_to(root)) not in _SKIPPED]
        for name in files:
            if stat.S_ISREG((here / name).lstat().st_mode):
                yield here / name


def _packaged_files(root: Path) -> Mapping[str, str]:
    """The files of packages in dpkg's database, with the MD5 of each, or "" if there is none."""
    found: dict[str, str] = {}
    info = root / INFO
    for path in info.glob("*.list"):
        found |= {_place(line): "" for line in _lines(path)}
    for path in info.glob("*.md5sums"):
        for line in _lines(path):
            digest, _, name = line.partition("  ")
            found[_place(name)] = digest
    # Conffiles are in the status, " /etc/x 0123…": deb-conffiles(5), dpkg-query(1).
    for line in _lines(root / STATUS):
        words = line.split()
        if line.startswith(" /") and len(words) >= 2:
            found[_place(words[0])] = words[1]
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="surrogateescape").split("\n") if path.is_file() else []


def _place(name: str) -> str:
    """One name for a file with two names on a merged /usr: /usr/lib/x and /lib/x (hier(7))."""
    name = name.lstrip("/")
    short = name.removeprefix("usr/")
    return short if short.startswith(("bin/", "sbin/", "lib")) else name
