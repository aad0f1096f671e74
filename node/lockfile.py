"""Lock files and temporary files with flock(2): a free lock shows that the maker is dead."""

import errno
import fcntl
import glob
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from node.files import open_regular, require_regular, sync_directory
from node.log import log
from node.syscalls import rename_new

_LONGEST = 200  # bytes of a name that go into the names of its parts; names have 255 at most
_PART = re.compile(r"[a-z0-9_]{8}\.part")  # behind the prefix; the letters are those of tempfile


def part_prefix(name: str) -> str:
    """How the names of the parts of a file or directory begin: `.<name>.`, cut if it is long."""
    return f".{os.fsdecode(os.fsencode(name)[:_LONGEST])}."


def parts_of(path: Path) -> Iterator[Path]:
    """The parts beside a file or directory; of a long name, those of others that begin alike, too.

    Nothing else: whoever asks removes them.
    """
    prefix = part_prefix(path.name)
    for part in path.parent.glob(f"{glob.escape(prefix)}*"):
        if _PART.fullmatch(part.name.removeprefix(prefix)):
            yield part


def same_file(path: Path, status: os.stat_result) -> bool:
    """Whether the path still names the file with this status."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), status)
    return False


@contextmanager
def part_of(path: Path) -> Iterator[tuple[Path, int]]:
    """Makes a temporary file `.<name>.<random>.part` beside a file; yields path and descriptor.

    Of a long name only the beginning is used. The file has mode 0600 and is locked while its maker
    lives. At the end of the block it is removed, unless it was renamed.
    """
    while True:
        descriptor, name = tempfile.mkstemp(
            prefix=part_prefix(path.name), suffix=".part", dir=path.parent
        )
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                break
        os.close(descriptor)  # another process removed it before it was locked
    try:
        yield Path(name), descriptor
    finally:
        # It was renamed; or the file system became read-only, and the next run removes it.
        with suppress(OSError):
            Path(name).unlink()
        os.close(descriptor)


def remove_parts_of(path: Path) -> None:
    """Removes the temporary files of a file (`part_of`) whose makers are dead."""
    for part in parts_of(path):
        unlink_if_free(part)


def give_name(part: Path, path: Path, *, replace: bool) -> None:
    """Gives a temporary file its name, so that it is on the disk as well.

    Args:
        part: the file.
        path: its name, in the same directory.
        replace: whether it may take the place of another file.

    Raises:
        OSError: EEXIST: something has the name, and must not be replaced.
    """
    if replace:
        part.replace(path)
    else:
        try:
            rename_new(part, path)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            path.hardlink_to(part)  # NFS can do this
    sync_directory(path.parent)


@dataclass(frozen=True)
class Lock:
    """A lock file that is held; or not held, because the holder before us gave it up."""

    descriptor: int
    given_up: bool

    def give_up(self) -> None:
        """Lets all processes that wait for it continue at once, each without the lock.

        For work that cannot succeed: otherwise each of them would try it in turn.
        """
        os.ftruncate(self.descriptor, 1)  # a hole, which works on a full disk, too


@contextmanager
def locked(path: Path, waiting_for: str) -> Iterator[Lock]:
    """Holds a lock file during the block and removes it at the end; waits for others.

    If the holder before us gives up (`Lock.give_up`), the block runs without the lock.

    Args:
        path: the lock file, made if missing.
        waiting_for: what the log says we wait for.

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
            os.ftruncate(descriptor, 0)  # its holder was killed, perhaps after it gave up
            break
        os.close(descriptor)  # its holder removed it: the next process makes a new one
        if status.st_size:
            yield Lock(-1, given_up=True)
            return
    try:
        yield Lock(descriptor, given_up=False)
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock on a file, also a shared one; False if it is no file."""
    try:
        descriptor = open_regular(path, follow=False)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)
    return False


def unlink_if_free(path: Path) -> bool:
    """Removes a regular file that nobody has locked; returns whether it is gone.

    Anything else, and a file that cannot be removed, stays.
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
