"""Checks the paths of sources and targets, before anything else and for every format.

A name is the string that the user gave: `pathlib.Path` turns an empty one into `.`, and drops a
slash at the end.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from converter.errors import SourceInUse
from node.devices import claim, settling
from node.errors import KitError

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
}
_HINTS = {
    errno.ELOOP: "its symbolic links point to each other: namei shows which",
    errno.ENAMETOOLONG: "a name has 255 bytes at most, a path 4095",
    errno.ENOTDIR: "each part of a path before a slash must be a directory",
}
_FIND = {
    "source": "name an image that root can read",
    "target": "lvs lists volumes; lvchange -ay VG/LV makes an inactive one active",
}


Name = str | os.PathLike[str]


class Found(NamedTuple):
    """A given path, and the status of what it leads to: a regular file or a block device."""

    path: Path
    status: os.stat_result


def found(path: Name, role: str, called: str | None = None) -> Found:
    """Checks that a path leads to a regular file or a block device; nothing is opened.

    Args:
        path: as the user gave it.
        role: source or target, for errors.
        called: the name in errors, if it is not the path.

    Raises:
        KitError: it leads to something else, or to nothing.
    """
    if (existing := found_or_none(path, role, called)) is None:
        missing = os.strerror(errno.ENOENT)
        raise KitError(f"{role} {called or os.fspath(path)}: {missing}", hint=_FIND[role])
    return existing


def found_or_none(path: Name, role: str, called: str | None = None) -> Found | None:
    """Like `found`; None if nothing is there and a file could be created.

    Raises:
        KitError: it leads to something else, or is a link to nothing.
    """
    given = os.fspath(path)
    name = called or given
    if not given:
        raise KitError(
            f"{role} '': an empty name", hint="is a variable of the command line not set?"
        )
    try:
        status = os.stat(given)  # noqa: PTH116 - a Path has lost the slash at its end
    except FileNotFoundError:
        if Path(given).is_symlink():
            raise KitError(
                f"{role} {name}: a symbolic link to {Path(given).readlink()}, which does not exist",
                hint="correct the link, or name the file it should lead to",
            ) from None
        if given.endswith("/"):
            raise KitError(
                f"{role} {name}: no such directory, and a {role} cannot be a directory",
                hint=f"leave out the slash at its end; or {_FIND[role]}",
            ) from None
        return None
    except (OSError, ValueError) as error:  # ValueError: the path contains a NUL
        number = error.errno if isinstance(error, OSError) else None
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise KitError(
            f"{role} {name}: {why}", hint=_HINTS.get(number or 0, _FIND[role])
        ) from error
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise KitError(
            f"{role} {name}: {kind}, neither a regular file nor a block device",
            hint=f"name an image or a disk of a guest as the {role}",
        )
    return Found(Path(given), status)


@contextmanager
def open_source_file(path: Name, name: str) -> Iterator[int]:
    """Opens a source for reading; yields its descriptor.

    A block device is opened exclusively, so that it cannot be mounted, and so changed, meanwhile.

    Args:
        path: as the user gave it.
        name: its name in errors.

    Raises:
        KitError: it does not exist, is of another kind, is in use, or cannot be read.
    """
    path, status = found(path, "source", name)
    # O_NONBLOCK: it may have been replaced by a named pipe.
    flags = os.O_RDONLY | os.O_NONBLOCK | (os.O_EXCL if stat.S_ISBLK(status.st_mode) else 0)
    fd = settling.settled(
        lambda: claim.open_disk(path, flags, f"source {name}", _FIND["source"]),
        f"source {name}",
        "unmount it, or copy from a snapshot of it",
        in_use=SourceInUse,
    )
    try:
        now = os.fstat(fd)  # a new file can have the inode number of a removed one
        if not os.path.samestat(now, status) or now.st_mode != status.st_mode:
            raise KitError(f"source {name}: it was replaced by something else", hint="run it again")
        os.set_blocking(fd, True)
        yield fd
    finally:
        os.close(fd)


def named(path: Path) -> str:
    """A path for messages: followed by the path it leads to, if that is another one."""
    real = path.resolve()
    return str(path) if real == path.absolute() else f"{path} ({real})"
