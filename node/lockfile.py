"""Files that outlive a SIGKILL, locked by their maker: a free lock tells that they are left."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from node.files import open_regular, require_regular
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
        with suppress(OSError):  # gone, or the file system became read-only: the next one tidies up
            Path(name).unlink()
        os.close(descriptor)


@dataclass(frozen=True)
class Lock:
    """A lock file that is held; or that is not, as its holder before has given up."""

    descriptor: int
    given_up: bool

    def give_up(self) -> None:
        """Lets all who wait for it now go on at once, each without the lock.

        For what they would only do in vain one after the other.
        """
        os.ftruncate(self.descriptor, 1)  # a hole: that can be told on a full disk, too


@contextmanager
def locked(path: Path, waiting_for: str) -> Iterator[Lock]:
    """Holds a lock file, which goes with its holder; waits for others, and logs so.

    Where the holder gives up meanwhile (see `Lock`), nothing is held.

    Raises:
        OSError: it cannot be made there.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
        require_regular(descriptor, path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for %s", waiting_for)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        status = os.fstat(descriptor)
        if same_file(path, status):
            os.ftruncate(descriptor, 0)  # its holder was killed, whatever it had said
            break
        os.close(descriptor)  # its holder removed it; whoever comes now makes another
        if status.st_size:
            yield Lock(-1, given_up=True)
            return
    try:
        yield Lock(descriptor, given_up=False)
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def unlink_if_free(path: Path) -> bool:
    """Removes a file that nobody has locked; tells whether it is gone.

    What is no file, or cannot be removed, stays.
    """
    try:
        descriptor = open_regular(path, follow=False)
    except OSError as error:
        return error.errno == errno.ENOENT
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if same_file(path, os.fstat(descriptor)):
            path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
