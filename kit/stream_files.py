"""Files of streams: opened to be read, or made so that no part of one has its name."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backup.disks.raw_size import HEAD
from backup.errors import StreamUnreadableError
from backup.kinds import Kind, recognised
from node.errors import KitError
from node.lockfile import give_name, part_of, remove_parts_of

STANDARD = "-"  # stdin or stdout


@contextmanager
def open_stream(name: str) -> Iterator[int]:
    """Opens a file or pipe with a stream, or stdin for "-"; yields its descriptor.

    Raises:
        StreamUnreadableError: it cannot be opened, or is nothing that has a stream.
    """
    if name == STANDARD:
        if sys.stdin.isatty():
            raise StreamUnreadableError(
                "stdin: a terminal, not a stream", hint="name a file, or pipe one in"
            )
        yield sys.stdin.fileno()
        return
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StreamUnreadableError(
            f"file {name}: {error.strerror}", hint="name the file of a backup that root can read"
        ) from error
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise StreamUnreadableError(
                f"file {name}: neither a file nor a pipe",
                hint="name the file of a backup; qcow2raw --format raw copies disks",
            )
        yield fd
    finally:
        os.close(fd)


def described(name: str) -> str:
    """A stream for messages."""
    return "the stream on stdin" if name == STANDARD else name


@contextmanager
def new_file(name: str, *, force: bool) -> Iterator[int]:
    """Makes a file that gets its name when the block is done; yields its descriptor.

    What was written must be on the disk by then. Until then it has another name beside its own,
    which the next run for that name removes if this one is killed. Its mode is 0600.

    Args:
        name: the path of the file.
        force: whether another file may be replaced, if that has a stream of the kit.

    Raises:
        KitError: something has the name, or no file can be made there.
    """
    path = Path(name)
    _require_free(path, force=force)
    with ExitStack() as stack:
        with _in_words(path):
            remove_parts_of(path)
            part, fd = stack.enter_context(part_of(path))
        yield fd
        _require_free(path, force=force)
        with _in_words(path):
            give_name(part, path, replace=force)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise KitError(
            f"file {path}: {error.strerror}",
            hint="name a file in a directory that exists, can be written to, and has room",
        ) from error


def _require_free(path: Path, *, force: bool) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise KitError(
            f"file {path}: it exists, and is no regular file", hint="name another, or - for stdout"
        )
    if not force:
        raise _taken(path)
    with _in_words(path), path.open("rb") as file:
        kind = recognised(file.read(HEAD))
    if kind is not Kind.KIT:
        raise KitError(
            f"file {path}: it exists, and holds no stream of an export",
            hint="name another, or remove it if it is not needed",
        )


def _taken(path: Path) -> KitError:
    return KitError(
        f"file {path}: it exists", hint="name another; --force replaces an older export"
    )
