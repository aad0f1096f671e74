"""Reads files of the node that somebody else may have put there: never waits, never reads on."""

import errno
import os
import re
import stat
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


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
