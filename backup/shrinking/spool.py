"""A disk in a temporary file: sparse, without a name, gone with its last descriptor."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from backup.streams.stream import Header
from converter.buffers import is_zero
from converter.sources.image_file import LocalFile
from converter.sources.local import RawSource
from node.errors import KitError
from node.files import write_at
from node.log import log
from node.text import size as text_size

# Ganeti keeps exports there: who has room for exports has it for one disk more.
EXPORTS = Path("/var/lib/ganeti/export")
DIRECTORIES = (EXPORTS, Path("/var/tmp"))
SPARE = 64 << 20  # bytes: the file system's own, and what a loop device wants to be left
BLOCK = 64 << 10  # bytes: zeros are left out in blocks; free blocks of ext are so, from 16 on


def room_needed(header: Header, target_size: int) -> int:
    """The bytes that a stream's disk may take in a sparse file, while it is shrunk, too.

    What lies behind the new end is written a second time before it.
    """
    content = max(0, header.disk_size - sum(header.left_out.values()))
    moved = min(content, header.disk_size - target_size)
    return min(content + moved, header.disk_size) + SPARE


def directory(needed: int) -> Path:
    """The first of DIRECTORIES with so many free bytes.

    Raises:
        KitError: there is none.
    """
    free: dict[Path, int] = {}
    for path in DIRECTORIES:
        if path.is_dir():
            found = os.statvfs(path)
            free[path] = found.f_bavail * found.f_frsize
            if free[path] >= needed:
                return path
    told = ", ".join(f"{path} has {text_size(count)}" for path, count in free.items())
    raise KitError(
        f"temporary file for a disk that is shrunk: it may take {text_size(needed)}, but {told}",
        hint=f"make room, or mount a file system at {DIRECTORIES[0]};"
        " or import onto a disk of the size that was exported",
    )


class Spool:
    """The file; it is written as a target is, and then read and changed. All figures are bytes."""

    def __init__(self, fd: int, place: Path, size: int) -> None:
        self._fd = fd
        self._place = place
        self._size = size

    def data(self, start: int, view: memoryview) -> None:
        """Writes a piece of the disk, a writable view; safe for threads."""
        for offset in range(0, len(view), BLOCK):
            block = view[offset : offset + BLOCK]
            if not is_zero(block):
                self.write(block, start + offset)

    def zeros(self, start: int, length: int) -> None:
        """Leaves a hole."""

    def write(self, content: memoryview | bytes, offset: int) -> None:
        """Writes all of it.

        Raises:
            KitError: there is no room.
        """
        if offset + len(content) > self._size:
            raise ValueError(f"{offset + len(content)} is beyond the end, {self._size}")
        try:
            write_at(self._fd, content, offset)
        except OSError as error:
            raise self._failed(error) from error

    def cut(self, size: int) -> None:
        """Ends the disk at `size`, whatever was behind it; or adds zeros up to there."""
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self._failed(error) from error
        self._size = size

    @property
    def fd(self) -> int:
        """For reading and writing."""
        return self._fd

    @contextmanager
    def source(self) -> Iterator[RawSource]:
        """The disk as a source, as long as nothing is written to it.

        Raises:
            KitError: it cannot be read.
        """
        # Whoever reads a source makes sure that nobody has it open for writing.
        reading = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)
        os.close(self._fd)
        self._fd = -1
        try:
            file = LocalFile(reading, f"temporary file in {self._place}")
            with closing(file.pages):
                yield RawSource(file)
        finally:
            self._fd = os.open(f"/proc/self/fd/{reading}", os.O_RDWR | os.O_CLOEXEC)
            os.close(reading)

    def close(self) -> None:
        """Gives the room back."""
        os.close(self._fd)

    def _failed(self, error: OSError) -> KitError:
        hint = f"make room in {self._place} and import again: df tells more"
        if error.errno == errno.EFBIG:
            hint = f"mount a file system at {DIRECTORIES[0]} that takes files of {self._size} bytes"
        return KitError(f"temporary file in {self._place}: {error.strerror}", hint=hint)


@contextmanager
def spooled(header: Header, target_size: int) -> Iterator[Spool]:
    """A file for the disk of a stream; nothing of it stays, not even after SIGKILL.

    Raises:
        KitError: there is no room for it.
    """
    needed = room_needed(header, target_size)
    place = directory(needed)
    log.info(
        "the disk goes to a temporary file in %s first, of up to %s: it is to be shrunk",
        *(place, text_size(needed)),
    )
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            fd = os.dup(file.fileno())
    except OSError as error:
        raise KitError(
            f"temporary file in {place}: {error.strerror}", hint="findmnt -T and df tell more"
        ) from error
    with closing(Spool(fd, place, header.disk_size)) as spool:
        spool.cut(header.disk_size)
        yield spool
