"""What is mounted: a file for each mount, locked while a process that serves it lives.

That is the background process and those of `node.isolation.apart` that it starts, which inherit the
lock. If it is killed, the kernel kills them, too; the lock is free some milliseconds later, when
these have ended.
"""

import errno
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from node.cleanup import undone
from node.errors import KitError
from node.files import kernel_text, open_regular
from node.isolation.mount import mounts_below, unmount
from node.lockfile import is_locked, same_file
from node.processes import PROC

DIRECTORY = Path("/run/ganeti-instance-kit/mounts")
MODE = 0o700  # of mount points: guests' files may have the users and modes of the node's


@dataclass(frozen=True)
class Record:
    """A mount.

    Attributes:
        name: the instance or the path of the disk.
        directory: the mount point.
        write: whether the guest may be changed.
        pid: the process that serves it.
        made: whether we made that directory; `begun` finds out.
        error: why not all was written, and the hint, once it has ended; None if all was.
    """

    name: str
    directory: str
    write: bool
    pid: int
    made: bool = False
    error: tuple[str, str] | None = None

    @property
    def path(self) -> Path:
        """The file of the record."""
        return DIRECTORY / f"{self.name.strip('/').replace('/', '-')}.json"


def all_records() -> Iterator[Record]:
    """The records of mounts that are served, and of those that failed or whose process died."""
    for path in sorted(DIRECTORY.glob("*.json")):
        try:
            descriptor = open_regular(path, follow=False)
        except OSError:
            continue
        try:
            if record := _read(descriptor):
                yield record
        finally:
            os.close(descriptor)


def default_directory(name: str) -> Path:
    """The mount point of an instance or disk if the user names none."""
    return DIRECTORY / name.strip("/").replace("/", "-")


@contextmanager
def begun(record: Record) -> Iterator[Callable[[], None]]:
    """Keeps a record during the block, and its mount point; both are removed at its end.

    Yields:
        A function that makes the record stay, with the error, if the block fails from then on.

    Raises:
        KitError: that instance or disk is mounted, or the mount point is not empty.
    """
    DIRECTORY.mkdir(mode=MODE, parents=True, exist_ok=True)
    descriptor = _locked(record)
    kept = threading.Event()
    try:
        record = _with_directory(descriptor, record)
        try:
            yield kept.set
        except KitError as error:
            if kept.is_set():
                _write(descriptor, replace(record, error=(error.message, error.hint)))
                raise
            with undone(lambda: clear(record)):
                raise
        except BaseException:
            with undone(lambda: clear(record)):
                raise
        clear(record)
    finally:
        os.close(descriptor)


def ended(record: Record) -> Record | None:
    """Waits for the end of all processes that serve a mount.

    Returns:
        None if all went well. Else the record, with the error, or without: it was killed.
    """
    try:
        descriptor = open_regular(record.path, follow=False)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        gone = not same_file(record.path, os.fstat(descriptor))
        return None if gone else _read(descriptor)
    finally:
        os.close(descriptor)


def is_served(record: Record) -> bool:
    """Whether a process that serves it lives."""
    return is_locked(record.path)


def clear(record: Record) -> None:
    """Removes mount, mount point and record of a process that has ended, or is about to.

    Raises:
        KitError: something holds the mount.
    """
    directory = Path(record.directory)
    if is_mounted(directory):
        unmount(directory)
    if record.made:
        with suppress(OSError):  # not empty any more, or removed
            directory.rmdir()
    record.path.unlink(missing_ok=True)


def clear_if_ended(record: Record) -> bool:
    """As `clear`, unless a new mount has taken its place; returns whether it was cleared.

    Raises:
        KitError: something holds the mount.
    """
    try:
        descriptor = open_regular(record.path, follow=False)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if same_file(record.path, os.fstat(descriptor)):
            clear(record)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def is_mounted(directory: Path) -> bool:
    """Whether anything is mounted at or below a directory."""
    return bool(mounts_below(directory, kernel_text(PROC / "self/mountinfo")))


def _locked(record: Record) -> int:
    """The descriptor of a record that is locked; one of a process that was killed is cleared."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(record.path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            before = _read(descriptor)
            os.close(descriptor)
            where = f" at {before.directory} by process {before.pid}" if before else ""
            raise KitError(
                f"{record.name}: mounted already{where}",
                hint=f"instance-kit umount {record.name}",
            ) from None
        if same_file(record.path, os.fstat(descriptor)):
            before = _read(descriptor)
            if before is None:
                return descriptor
            clear(before)
        os.close(descriptor)


def _with_directory(descriptor: int, record: Record) -> Record:
    """Makes the mount point, or checks it; returns the record that was written.

    Raises:
        KitError: it is no empty directory, or something is mounted there.
    """
    hint = "name an empty directory, or one that does not exist"
    directory = Path(record.directory)
    try:
        record = replace(record, made=not directory.is_dir())
        _write(descriptor, record)
        if record.made:
            directory.mkdir(mode=MODE)
        elif any(directory.iterdir()):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    except OSError as error:
        record.path.unlink()
        raise KitError(f"mount point {directory}: {error.strerror}", hint=hint) from error
    if is_mounted(directory):
        record.path.unlink()
        raise KitError(f"mount point {directory}: something is mounted there", hint=hint)
    return record


def _read(descriptor: int) -> Record | None:
    try:
        found = json.loads(os.pread(descriptor, 1 << 16, 0))
        error = found.pop("error")
        return Record(**found, error=tuple(error) if error else None)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # its maker was killed before it was written


def _write(descriptor: int, record: Record) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(record)).encode(), 0)
