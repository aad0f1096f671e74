"""Makes the files of a dump by their inode numbers: their names come together at the end.

All of it stands in a directory of the new file system until then. So where an import is ended by
SIGKILL, there is no system that would boot, and no file at a wrong place.
"""

import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from backup.dumps import records
from backup.dumps.records import Inode
from backup.streams.stream import StreamError
from node.files import write_at

NAME = ".ganeti-import-is-not-finished"
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602  # linux/fs.h
# Flags that a user may set (lsattr(1)): s, u, S, i, a, d, A, j, t, D, T. The others tell how the
# file system has stored the file.
KEPT_FLAGS = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x4000 | 0x8000 | 0x10000 | 0x20000
_NUMBER = struct.Struct("<I")
_FLAGGED = struct.Struct("<II")
_PER_DIRECTORY = 4096
_PIECE = 64 << 10  # bytes


class Staging:
    """Files and directories without names; a sink of `DumpReader`.

    Args:
        top: the root of an empty file system.
    """

    def __init__(self, top: Path) -> None:
        self.place = top / NAME
        self.place.mkdir(mode=0o700)
        self._made: set[Path] = set()
        self._flagged = (self.place / "flagged").open("w+b")
        self._fd = -1  # of the file whose content comes
        self._path = self.place
        self._number = 0
        self._inode: Inode | None = None
        self._target = b""  # of a symlink

    def path(self, kind: str, number: int) -> Path:
        """Where an inode is.

        Args:
            kind: `single` for a directory or a file with one name, `shared` for what has several
                or has flags, `entries` for the flags and entries of a directory.
            number: the inode's.
        """
        return self.place / kind / str(number // _PER_DIRECTORY) / str(number)

    def begin(self, number: int, inode: Inode, /) -> None:
        """Makes a file, but for its content."""
        self.end()
        if inode.size >= 1 << 63:
            raise StreamError(f"inode {number} in it has an impossible size")
        kind = stat.S_IFMT(inode.mode)
        flags = inode.flags & KEPT_FLAGS
        is_single = kind == stat.S_IFDIR or (inode.links < 2 and not flags)
        path = self._room("single" if is_single else "shared", number)
        if os.path.lexists(path):
            raise StreamError(f"inode {number} comes twice in it")
        opened = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        if kind == stat.S_IFREG:
            self._fd = os.open(path, opened, 0o600)
            os.ftruncate(self._fd, inode.size)
            if flags:
                self._flagged.write(_FLAGGED.pack(number, flags))
        elif kind == stat.S_IFDIR:
            path.mkdir(mode=0o700)
            self._fd = os.open(self._room("entries", number), opened, 0o600)
            os.write(self._fd, _NUMBER.pack(flags))
        elif kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
            os.mknod(path, kind | 0o600, os.makedev(*inode.device))
        elif kind != stat.S_IFLNK:
            raise StreamError(f"inode {number} in it is of an unknown kind")
        self._path, self._number, self._inode, self._target = path, number, inode, b""

    def data(self, place: int, view: memoryview, /) -> None:
        """Writes content; what is behind the size of the file belongs to no file."""
        assert self._inode is not None
        view = view[: max(0, self._inode.size - place)]
        if stat.S_ISLNK(self._inode.mode):
            self._target += bytes(view)
            if len(self._target) >= 4096:  # PATH_MAX
                raise StreamError(f"inode {self._number} in it is a symlink that is too long")
            return
        if self._fd < 0:
            raise StreamError(f"inode {self._number} in it has content, but is no file")
        if stat.S_ISDIR(self._inode.mode):
            place += _NUMBER.size
        write_at(self._fd, view, place)

    def attributes(self, data: bytes, /) -> None:
        """Sets extended attributes."""
        self.end()
        for name, value in records.attributes(data):
            os.setxattr(self._path, name, value, follow_symlinks=False)

    def end(self) -> None:
        """Ends the file whose content came last: its owner, mode and times."""
        inode, self._inode = self._inode, None
        if inode is None:
            return
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        is_link = stat.S_ISLNK(inode.mode)
        if is_link:
            if not self._target or b"\0" in self._target:
                raise StreamError(f"inode {self._number} in it is a symlink to no possible name")
            self._path.symlink_to(os.fsdecode(self._target))
        os.chown(self._path, inode.uid, inode.gid, follow_symlinks=False)
        if not is_link:
            self._path.chmod(stat.S_IMODE(inode.mode))
        os.utime(self._path, ns=(inode.atime, inode.mtime), follow_symlinks=False)

    def set_flags(self) -> None:
        """Gives files their flags, which would keep them from being named."""
        self._flagged.seek(0)
        while record := self._flagged.read(_FLAGGED.size):
            number, flags = _FLAGGED.unpack(record)
            path = self.path("shared", number)
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                path.unlink()
                add_flags(fd, flags)
            finally:
                os.close(fd)

    def without_name(self) -> Iterator[tuple[int, Path]]:
        """What no directory names."""
        for kind in ("single", "shared"):
            for part in sorted((self.place / kind).glob("*")):
                for path in sorted(part.iterdir()):
                    if kind == "single" or path.lstat().st_nlink == 1:
                        yield int(path.name), path

    def close(self) -> None:
        """Ends all writing."""
        self._flagged.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _room(self, kind: str, number: int) -> Path:
        path = self.path(kind, number)
        if path.parent not in self._made:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._made.add(path.parent)
        return path


def add_flags(fd: int, flags: int) -> None:
    """Adds flags of ext2 to ext4 to those that an open file has."""
    (before,) = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", before | flags))


def read_entries(staging: Staging, number: int) -> tuple[int, Iterator[bytes]] | None:
    """The flags of a directory and its content, once; None if there is no such directory left.

    The content comes in pieces: what claims to be a directory may be as large as any file.
    """
    path = staging.path("entries", number)
    taken = path.with_name(f"{number}.taken")
    with suppress(FileNotFoundError):
        path.rename(taken)
        with taken.open("rb") as file:
            return _NUMBER.unpack(file.read(_NUMBER.size))[0], _pieces(taken)
    return None


def _pieces(path: Path) -> Iterator[bytes]:
    """What is behind the flags; not open in between, as there may be thousands of such files."""
    place = _NUMBER.size
    while True:
        with path.open("rb", buffering=0) as file:
            file.seek(place)
            piece = file.read(_PIECE)
        if not piece:
            break
        place += len(piece)
        yield piece
    path.unlink()
