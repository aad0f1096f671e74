"""What rescue work is done on: the disks of a stopped instance, or one disk; and who uses them."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from converter.formats import foreign
from kit.instance_disks import stopped_instance
from node.cleanup import undone
from node.devices import claim, qemu_locks
from node.devices.settling import InUseError, settled
from node.devices.writers import writer
from node.errors import KitError

_FREE = "stop the instance, or unmount or detach it, then try again"


@dataclass(frozen=True)
class Target:
    """Disks in the guest's order, and the full name of their instance, or the path of the disk."""

    name: str
    disks: tuple[Path, ...]


@dataclass(frozen=True)
class Held:
    """A disk that nobody else may change while its descriptor is open."""

    path: Path
    fd: int


def is_disk(given: str) -> bool:
    """Whether a user means a disk by its path: names of instances have no slash."""
    return "/" in given


def absolute(given: str) -> Path:
    """A path that does not depend on the working directory; no file system is asked for links."""
    return Path(os.path.abspath(given))  # noqa: PTH100 - Path.absolute() keeps ".."


def find(given: str) -> Target:
    """Finds the disks.

    Args:
        given: the name of an instance, or the path of a disk.

    Raises:
        KitError: there is no such instance on this node, it runs, or has no disks.
    """
    if is_disk(given):
        path = absolute(given)
        return Target(str(path), (path,))
    found = stopped_instance(given)
    if not found.disks:
        raise KitError(f"instance {found.instance}: it has no disks", hint="gnt-instance info")
    return Target(found.instance, tuple(disk.path for disk in found.disks))


@contextmanager
def held(target: Target, *, write: bool) -> Iterator[list[Held]]:
    """Opens the disks and keeps others out; at the end, what was written is on the disks.

    Block devices are opened exclusively. To read, QEMU's lock against writers is held. To write,
    there is none yet: libguestfs's QEMU will hold it. Both keep the instance from starting here.

    Raises:
        KitError: a disk is missing, of another kind, or in use; or, at the end, its flush failed.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_held(path, write=write)) for path in target.disks]


@contextmanager
def _held(path: Path, *, write: bool) -> Iterator[Held]:
    name = f"disk {path}"
    if write:
        with claim.claimed(path):
            pass
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise KitError(f"{name}: {error.strerror}", hint=claim.HINT) from error
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
        raise KitError(f"{name}: neither a block device nor a regular file", hint=claim.HINT)
    flags = os.O_NONBLOCK | (os.O_RDWR if write else os.O_RDONLY)
    flags |= os.O_EXCL if stat.S_ISBLK(mode) else 0
    fd = settled(lambda: claim.open_disk(path, flags, name, claim.HINT), name, _FREE)
    try:
        if stat.S_ISREG(mode):
            _require_raw(fd, name)
        if not write:
            settled(lambda: _require_no_writer(fd), name, _FREE)
        with undone(lambda: _flush(fd, name)) if write else nullcontext():
            yield Held(path, fd)
    finally:
        os.close(fd)


def _require_no_writer(fd: int) -> None:
    try:
        if qemu_locks.is_written(fd):
            raise InUseError("a running QEMU writes to it")
        kept = qemu_locks.keep_writers_out(fd)
    except OSError:
        kept = True  # the file system does not support locks
    if not kept:
        raise InUseError("a process holds a lock on it")
    if user := writer(fd):
        raise InUseError(user)


def _require_raw(fd: int, name: str) -> None:
    def read(offset: int, length: int) -> bytes:
        return os.pread(fd, length, offset)

    found = foreign.recognised(read, os.fstat(fd).st_size)
    if foreign.contradicts(found, "raw"):
        raise KitError(
            f"{name}: a {found} image, and only raw ones can be opened",
            hint="qcow2raw makes a raw disk of it",
        )


def _flush(fd: int, name: str) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise KitError(
            f"flush of {name}: {error.strerror}: what was written may be lost",
            hint="see dmesg for errors of its device, and df for its file system",
        ) from error
