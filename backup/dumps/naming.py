"""Gives the files of a dump their names, once all of it has come."""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backup.dumps import records, staging
from backup.dumps.records import Entry
from backup.dumps.staging import Staging, add_flags
from backup.streams.stream import StreamError
from node.log import log
from node.syscalls import rename_new

LOST = "lost+found"
MOST_WARNINGS = 10
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class _Open:
    """A directory that is being filled."""

    name: bytes
    before: os.stat_result
    flags: int
    entries: Iterator[Entry]


class Naming:
    """The tree of a dump, made below the staging directory and then moved to its place.

    Args:
        made: all inodes.
        top: the root of the new file system.
        short: inodes of files that are perhaps not right; see `DumpReader`.
    """

    def __init__(self, made: Staging, top: Path, short: Set[int]) -> None:
        self._made = made
        self._top = top
        self._short = short
        self._missing = 0
        self._later: list[tuple[bytes, int]] = []  # directories at the top, and their flags
        self._root_flags = 0

    def name_all(self) -> Path:
        """Names all files below one directory, the root of the dump; returns it.

        Raises:
            StreamError: there is no root directory.
        """
        tree = self._made.place / "tree"
        if not self._place(records.ROOT, os.fsencode(tree), None):
            raise StreamError("it has no root directory")
        self._fill(tree)
        if self._missing:
            log.warning("%d names in all are of files that the dump does not have", self._missing)
        return tree

    def move_up(self, tree: Path) -> None:
        """Moves all to the root of the file system, and removes the staging directory."""
        before = tree.lstat()
        for path in sorted(tree.iterdir()):
            if path.name == LOST:
                self._merge_lost(path)
            elif path.name == staging.NAME:
                raise StreamError(f"it has a file {staging.NAME} in its root directory")
            else:
                path.rename(self._top / path.name)
        for number, path in self._made.without_name():
            log.warning("inode %d has no name in the dump: it is in /%s", number, LOST)
            found = self._lost() / f"#{number}"
            if path.is_dir() and not path.is_symlink():
                path.rename(found)
            else:
                os.link(path, found, follow_symlinks=False)  # its flags come later
        self._made.set_flags()
        for name, flags in self._later:
            _flag(self._top / os.fsdecode(name), flags)
        _take_over(tree, self._top)
        shutil.rmtree(self._made.place)  # all that is left in it is empty or has another name
        os.utime(self._top, ns=(before.st_atime_ns, before.st_mtime_ns))
        if self._root_flags:
            _flag(self._top, self._root_flags)

    def _lost(self) -> Path:
        place = self._top / LOST
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
        return place

    def _merge_lost(self, found: Path) -> None:
        """Into the directory that mke2fs has made with room for what fsck finds."""
        before, place = found.lstat(), self._lost()
        if not stat.S_ISDIR(before.st_mode):
            raise StreamError(f"{LOST} in it is no directory")
        for path in sorted(found.iterdir()):
            path.rename(place / path.name)
        _take_over(found, place)
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _fill(self, tree: Path) -> None:
        """Goes through all directories; one is open at a time, however deep they are."""
        opened = self._opened(records.ROOT, b"")
        if opened is None:
            raise StreamError("it has no root directory")
        self._root_flags, opened.flags = opened.flags, 0
        fd = os.open(tree, _DIRECTORY)
        opened.before = os.fstat(fd)
        stack = [opened]
        try:
            while stack:
                entry = next(stack[-1].entries, None)
                if entry is None:
                    fd = self._left(fd, stack)
                elif entry.name is None:
                    continue  # it gets its number as a name
                elif not self._place(entry.inode, entry.name, fd):
                    self._missing += 1
                    if self._missing <= MOST_WARNINGS:
                        log.warning("the dump does not have the file %s", _path(stack, entry))
                elif entry.inode in self._short:
                    log.warning(
                        "%s: the dump has less of it than its size: if an old version of dump made"
                        " it, and it began with a hole, its content is not where it was",
                        _path(stack, entry),
                    )
                elif (below := self._opened(entry.inode, entry.name)) is not None:
                    above, fd = fd, os.open(entry.name, _DIRECTORY, dir_fd=fd)
                    os.close(above)
                    below.before = os.fstat(fd)
                    stack.append(below)
        finally:
            os.close(fd)

    def _opened(self, number: int, name: bytes) -> _Open | None:
        found = staging.read_entries(self._made, number)
        if found is None:
            return None
        flags, content = found
        return _Open(name, os.stat_result((0,) * 10), flags, records.entries(content))

    def _left(self, fd: int, stack: list[_Open]) -> int:
        """Ends a directory, whose time has changed; returns the one above."""
        done = stack.pop()
        os.utime(fd, ns=(done.before.st_atime_ns, done.before.st_mtime_ns))
        if done.flags and len(stack) == 1:
            self._later.append((done.name, done.flags))  # it will be renamed
        elif done.flags:
            add_flags(fd, done.flags)
        above = os.open("..", _DIRECTORY, dir_fd=fd) if stack else os.dup(fd)
        os.close(fd)
        return above

    def _place(self, number: int, name: bytes, directory: int | None) -> bool:
        """Gives an inode a name, if the dump has it.

        Raises:
            StreamError: something else has the name.
        """
        single = os.fsencode(self._made.path("single", number))
        shared = os.fsencode(self._made.path("shared", number))
        try:
            with suppress(FileNotFoundError):
                rename_new(single, name, directory)
                return True
            with suppress(FileNotFoundError):
                os.link(shared, name, dst_dir_fd=directory, follow_symlinks=False)
                return True
        except FileExistsError as error:
            raise StreamError(f"a directory in it has the name {name!r} twice") from error
        return False


def _path(stack: Sequence[_Open], entry: Entry) -> str:
    return os.fsdecode(b"/".join([*(each.name for each in stack), entry.name or b""]))


def _flag(path: Path, flags: int) -> None:
    fd = os.open(path, _DIRECTORY)
    try:
        add_flags(fd, flags)
    finally:
        os.close(fd)


def _take_over(model: Path, path: Path) -> None:
    """Gives a directory the owner, mode and attributes of another one."""
    found = model.lstat()
    os.chown(path, found.st_uid, found.st_gid)
    path.chmod(stat.S_IMODE(found.st_mode))
    for name in os.listxattr(model):
        os.setxattr(path, name, os.getxattr(model, name))
