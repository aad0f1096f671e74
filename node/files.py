"""Files of the node: read without waiting for a writer, written whole or not at all."""

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

LIMIT = 64 << 20  # bytes; keyrings and settings have some KiB
NULL = os.makedev(1, 3)  # /dev/null, which administrators link to in place of an empty file


def open_regular(path: Path, *, follow: bool = True) -> int:
    """Opens a regular file for reading, and nothing else: a FIFO would wait for its writer.

    Args:
        path: the file.
        follow: whether it may be a symlink.

    Raises:
        OSError: it is missing, cannot be read, or is no regular file; EINVAL for the latter.
    """
    nofollow = 0 if follow else os.O_NOFOLLOW
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | nofollow)
    require_regular(fd, path)
    return fd


def require_regular(fd: int, path: Path) -> None:
    """Closes what is open, and is no regular file.

    Raises:
        OSError: EINVAL; it is none.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) and status.st_rdev != NULL:
        os.close(fd)
        raise OSError(errno.EINVAL, f"{_kind(status.st_mode)}, not a file", str(path))


def read_bytes(path: Path) -> bytes:
    """All of a regular file.

    Raises:
        OSError: as `open_regular`; EFBIG if it has more than LIMIT bytes.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def read_text(path: Path, *, errors: str = "strict") -> str:
    r"""All of a regular file of UTF-8 text; line ends become "\n".

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: it is none, and `errors` (codecs.decode) does not say what then.
    """
    text = read_bytes(path).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def kernel_text(path: Path) -> str:
    """A file of proc(5) or sysfs: the names in it have any bytes, as os.fsdecode() gives them.

    Raises:
        OSError: it cannot be read: the process has ended, the device is gone.
    """
    return os.fsdecode(path.read_bytes())


def kernel_table(path: Path) -> list[list[str]]:
    """The lines of a table of proc(5), taken apart at what no name in it has: blanks and tabs.

    Raises:
        OSError: as `kernel_text`.
    """
    return [re.split(r"[ \t]+", line) for line in kernel_text(path).split("\n") if line]


def write_whole(path: Path, content: bytes, *, mode: int = 0o644, durable: bool = False) -> None:
    """Puts a file there, whole or not at all; what stood there is replaced.

    That goes for a symlink itself, not for what it points to. The content is first written beside
    it, to `<name>.new`, which only SIGKILL leaves behind; the next call for the same path replaces
    it. So two calls for one path must not run at once.

    Args:
        path: the file, in a directory that is there.
        content: all of it.
        mode: the file's permission bits, whatever the umask.
        durable: whether it must be on the disk afterwards, under its name.

    Raises:
        OSError: it cannot be written; what stood there stays, except where the error is of the
            directory's fsync(2).
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
        with suppress(OSError):  # the first error is the one to mend
            fresh.unlink()
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Writes the names in a directory to the disk: of files made, renamed or removed (fsync(2)).

    Raises:
        OSError: that failed.
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
