"""Saves the files that scripts made before a trial, and restores them if it fails."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from installer.bootstrap.per_guest.unpackaged import HEAD, made_by_scripts
from installer.guest_tree import GuestTree


@dataclass(frozen=True)
class Saved:
    """A file: its status, content (None if larger than HEAD bytes), and extended attributes."""

    status: os.stat_result
    content: bytes | None
    attributes: Mapping[str, bytes]


def taken(root: Path) -> dict[str, Saved]:
    """The regular files in a guest that scripts made or changed, by their paths in the guest."""
    return {path: _saved(root / path, data) for path, _, data in made_by_scripts(root)}


def _saved(path: Path, data: bytes) -> Saved:
    status = path.lstat()
    names = os.listxattr(path, follow_symlinks=False)
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    return Saved(status, data if status.st_size <= HEAD else None, attributes)


def put_back(target: GuestTree, before: Mapping[str, Saved]) -> tuple[str, ...]:
    """Restores these files of a guest, and removes files that were made since.

    Returns:
        changed files that were too large to be saved.

    Raises:
        KitError: a path now leads out of the guest, see `GuestTree.path`.
    """
    after = taken(target.root)
    for path in after.keys() - before.keys():
        target.remove(path)
    lost = []
    for path, saved in before.items():
        if path in after and _same(saved, after[path]):
            continue
        if saved.content is None:
            lost.append(path)
        else:
            write(target.path(path), saved)
    return tuple(sorted(lost))


def _same(one: Saved, other: Saved) -> bool:
    """Whether a file has not changed; for a large one, its time is compared."""
    figures = [
        (saved.status.st_mode, saved.status.st_uid, saved.status.st_gid, saved.status.st_size)
        for saved in (one, other)
    ]
    times = one.status.st_mtime_ns == other.status.st_mtime_ns
    return (
        figures[0] == figures[1]
        and one.attributes == other.attributes
        and (one.content == other.content if one.content is not None else times)
    )


def write(path: Path, saved: Saved) -> None:
    """Restores a file, and replaces what is in its place."""
    assert saved.content is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(saved.content)
        os.fchown(file.fileno(), saved.status.st_uid, saved.status.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(saved.status.st_mode))
    for name, value in saved.attributes.items():
        os.setxattr(path, name, value)
    os.utime(path, ns=(saved.status.st_atime_ns, saved.status.st_mtime_ns))
