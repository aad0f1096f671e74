"""Files that outlive a SIGKILL, locked by their maker: a free lock tells that they are left."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from node.log import log


def same_file(path: Path, status: os.stat_result) -> bool:
    """Whether the path still names the file with this status."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), status)
    return False


@contextmanager
def part_of(path: Path) -> Iterator[tuple[Path, int]]:
    """A temporary file `.<name>.<random>.part` beside a file: its path and descriptor.

    It is locked while its maker lives, has mode 0600, and goes at the end if not renamed by then.
    """
    while True:
        descriptor, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".part", dir=path.parent
        )
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                break
        os.close(descriptor)  # someone tidied up before it was locked
    try:
        yield Path(name), descriptor
    finally:
        Path(name).unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def locked(path: Path, waiting_for: str) -> Iterator[None]:
    """Holds a lock file, which goes with its holder; waits for others, and logs so."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for %s", waiting_for)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if same_file(path, os.fstat(descriptor)):
            break
        os.close(descriptor)  # its holder removed it; whoever comes now makes another
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def unlink_if_free(path: Path) -> None:
    """Removes a lock file or temporary file of these kinds, unless its maker lives."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if same_file(path, os.fstat(descriptor)):
            path.unlink()
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
