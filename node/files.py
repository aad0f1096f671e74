"""Reads regular files of the node, and replaces files atomically."""

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

LIMIT = 64 << 20  # bytes; keyrings and settings have a few KiB
NULL = os.makedev(1, 3)  # /dev/null: administrators link to it instead of making an empty file


def open_regular(path: Path, *, follow: bool = True) -> int:
    """Opens a regular file for reading; refuses other kinds: a FIFO would wait for its writer.

    Args:
        path: the file.
        follow: whether it may be a symlink.

    Raises:
        OSError: it is missing or cannot be read; EINVAL if it is not a regular file.
    """
    nofollow = 0 if follow else os.O_NOFOLLOW
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | nofollow)
    require_regular(fd, path)
    return fd


def require_regular(fd: int, path: Path) -> None:
    """Closes a descriptor that is not of a regular file (or /dev/null), and raises.

    Raises:
        OSError: EINVAL: it is not a regular file.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) and status.st_rdev != NULL:
        os.close(fd)
        raise OSError(errno.EINVAL, f"{_kind(status.st_mode)}, not a file", str(path))


def read_bytes(path: Path) -> bytes:
    """All of a regular file.

    Raises:
        OSError: see `open_regular`; EFBIG if it has more than LIMIT bytes.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def read_text(path: Path, *, errors: str = "strict") -> str:
    r"""All of a regular file of UTF-8 text; line ends become "\n".

    Args:
        path: the file.
        errors: what to do with bytes that are not UTF-8, as for codecs.decode().

    Raises:
        OSError: see `read_bytes`.
        UnicodeDecodeError: it is not UTF-8, and `errors` is "strict".
    """
    text = read_bytes(path).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def kernel_text(path: Path) -> str:
    """The text of a file of proc(5) or sysfs, decoded by os.fsdecode(): names may have any bytes.

    Raises:
        OSError: it cannot be read: the process has ended, or the device is gone.
    """
    return os.fsdecode(path.read_bytes())


def kernel_table(path: Path) -> list[list[str]]:
    """The lines of a table of proc(5), split at blanks and tabs, which names in it never have.

    Raises:
        OSError: see `kernel_text`.
    """
    return [re.split(r"[ \t]+", line) for line in kernel_text(path).split("\n") if line]


def write_whole(path: Path, content: bytes, *, mode: int = 0o644, durable: bool = False) -> None:
    """Writes a file atomically, replacing what has that name.

    A symlink is replaced itself, not the file that it points to. The content is first written to
    `<name>.new` in the same directory. Only SIGKILL leaves that file behind, and the next call for
    the same path replaces it. So two calls for one path must not run at once.

    Args:
        path: the file, in an existing directory.
        content: the whole content.
        mode: the file's permission bits, whatever the umask.
        durable: whether the file and its name must be on the disk afterwards (fsync(2)).

    Raises:
        OSError: it cannot be written. The old file stays, unless the directory's fsync(2) failed.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(fresh, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        with suppress(OSError):  # report the first error only
            fresh.unlink()
        raise
    if durable:
        sync_directory(path.parent)


def write_at(fd: int, content: bytes | memoryview, offset: int) -> None:
    """Writes all of it at an offset: pwrite(2) may write less than it was given.

    Raises:
        OSError: it cannot be written.
    """
    rest = memoryview(content)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest, offset = rest[written:], offset + written


def sync_directory(path: Path) -> None:
    """Syncs a directory (fsync(2)), so that made, renamed and removed names are on the disk.

    Raises:
        OSError: the sync failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
