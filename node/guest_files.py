"""The files of a guest in the libguestfs appliance, and programs of the guest.

The guest may be hostile: what is read has a limit. Its links lead nowhere but into the guest.
"""

import base64
import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from node.cleanup import signals_blocked
from node.errors import KitError
from node.log import log

MAX_SIZE = 1024 * 1024  # bytes, of a file that is read from a guest
FIRST = "first"  # the label of the first disk: letters only
MAX_FILES = 100  # that a pattern may match
MAX_REASON = 300  # characters of a tool's own words
MAX_LINES = 20  # of what a program of the guest prints
RUN_SECONDS = 1800.0  # for a program of the guest; GRUB's need some minutes without KVM

PRINTED_BYTES = 256 * 1024  # of what a script finds
UNPACKED_BYTES = 1 << 30  # of an archive; the rest is not read
SEARCH_LINES = 5  # that it gives of a file
SEARCH_SECONDS = 300
_TIMED_OUT = 124  # of timeout(1)

Handle = Any  # a guestfs.GuestFS, which has no types


class FileSystem(NamedTuple):
    """A file system, swap area or the like in the appliance; "" for a missing UUID or label."""

    device: str  # the appliance's name for it
    type: str
    uuid: str
    label: str


class Line(NamedTuple):
    """A line of a file of the guest, and its number from 1."""

    path: str
    number: int
    text: str


class Searched(NamedTuple):
    """What a search found; `complete` is False if it stopped at a limit."""

    lines: tuple[Line, ...]
    complete: bool


class GuestFiles:
    """The files of a guest that is not running, mounted in the appliance."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def read(self, path: str) -> str | None:
        """The text of a regular file; None if there is none, or it is larger than MAX_SIZE."""
        handle = self._handle
        if not handle.is_file(path, followsymlinks=True) or handle.filesize(path) > MAX_SIZE:
            return None
        content: bytes = self._handle.read_file(path)
        return content.decode("utf-8", "surrogateescape")

    def matching(self, pattern: str) -> list[str]:
        """The paths that match a shell pattern, at most MAX_FILES of them."""
        found: list[str] = self._handle.glob_expand(pattern)
        return found[:MAX_FILES]

    def write(self, path: str, text: str) -> None:
        """Replaces a file's content and keeps its owner and permission bits."""
        self._handle.write(path, text.encode("utf-8", "surrogateescape"))

    def mount(self, spec: str, place: str, *, write: bool = False) -> bool:
        """Mounts a file system of the guest; False if that is not possible.

        Args:
            spec: as in fstab(5): UUID=, LABEL=, or a device of the guest.
            place: a directory of the guest.
            write: whether it can be written to.
        """
        kind, _, value = spec.partition("=")
        find = {"UUID": self._handle.findfs_uuid, "LABEL": self._handle.findfs_label}.get(kind)
        try:
            # libguestfs translates /dev/vdb1, and has logical volumes under their own names.
            mount = self._handle.mount if write else self._handle.mount_ro
            mount(find(value) if find else spec, place)
        except RuntimeError as error:
            log.debug("%s on %s: not mounted: %s", spec, place, str(error)[:MAX_REASON])
            return False
        return True

    def replace(self, path: str, text: str) -> None:
        """Replaces a file in one step, or makes it (root's, mode 644) with its directories.

        Owner, mode and extended attributes of an old file are kept. A link is followed.

        Raises:
            KitError: it cannot be replaced, such as one that is immutable; it is as before.
        """
        handle = self._handle
        old = handle.is_file(path, followsymlinks=True)
        real: str = handle.realpath(path) if old else path
        # A run that is killed may leave it: nothing that reads all files of a directory takes it.
        fresh = str(PurePosixPath(real).with_name(f".{PurePosixPath(real).name}.kit-new"))
        try:
            if not old:
                handle.mkdir_p(str(PurePosixPath(real).parent))
            handle.rm_f(fresh)
            handle.write(fresh, text.encode("utf-8", "surrogateescape"))
            handle.chmod(0o644, fresh)
            if old:
                handle.copy_attributes(real, fresh, all=True)
            handle.sync()
            handle.mv(fresh, real)
        except RuntimeError as error:
            with suppress(RuntimeError):
                handle.rm_f(fresh)
            raise KitError(
                f"{path} in the guest: it cannot be replaced: {str(error)[:MAX_REASON]}",
                hint="is it immutable (lsattr, chattr -i), or its file system full?",
            ) from error

    def keep(self, path: str, directory: str) -> None:
        """Copies a file with all its attributes to the same path below a directory of root's."""
        copy = f"{directory}{path}"
        self._handle.mkdir_p(str(PurePosixPath(copy).parent))
        self._handle.chmod(0o700, directory)
        self._handle.cp_a(self._handle.realpath(path), copy)

    def search(self, words: Sequence[str], top: str, *, but: str = "/none") -> Searched:
        """The lines of text files below a directory that have one of these words, in any case.

        The appliance's own grep reads the files: no program of the guest runs. Links, special
        files, binary files and files above MAX_SIZE are left out.

        Args:
            words: without regard to what follows them; see grep(1), -F and -w.
            top: an absolute path without blanks.
            but: a directory that is left out, likewise.
        """
        given = " ".join(f"-e {shlex.quote(word)}" for word in words)
        # libguestfs has no call that searches many files. (Its call `grep` takes one, and fails if
        # much is found.) Names end with NUL: they may have ends of lines.
        find = (
            f"find /sysroot{top} -path /sysroot{but} -prune -o"
            f" -type f -size -{MAX_SIZE // 1024 + 1}k -print0"
        )
        grep = f"xargs -0 -r grep -HnIwiFZ -m {SEARCH_LINES} {given}"
        found, code = self._limited(f"{find} | {grep} | tr '\\000' '\\001'", SEARCH_SECONDS)
        text = found.decode("utf-8", "surrogateescape")
        lines = [line for each in text.split("\n") if (line := _line(each))]
        return Searched(tuple(lines), code != _TIMED_OUT and len(found) < PRINTED_BYTES)

    def file_systems(self) -> list[FileSystem]:
        """All file systems on the guest's disks, except inside encrypted ones."""
        return file_systems(self._handle)

    def exists(self, path: str) -> bool:
        """Whether there is a regular file, or a link to one."""
        return bool(self._handle.is_file(path, followsymlinks=True))

    def size(self, path: str) -> int:
        """The size of an existing file, bytes."""
        return int(self._handle.filesize(path))

    def part(self, path: str, offset: int, length: int) -> bytes:
        """A part of a file; shorter at its end. Of at most 1 MiB."""
        found: bytes = self._handle.pread(path, min(length, MAX_SIZE), offset)
        return found

    def archived(self, path: str, offset: int, unpack: str, word: str) -> list[str] | None:
        """The names in a cpio archive that have a word, and the first one.

        None if the archive cannot be read, or not in time.

        Args:
            path: a regular file.
            offset: where the archive begins in it, bytes.
            unpack: a program that unpacks it from stdin to stdout; `cat` if it is not packed.
            word: letters only.
        """
        real = shlex.quote(f"/sysroot{self._handle.realpath(path)}")
        script = (
            f"tail -c +{offset + 1} {real} | {unpack} | head -c {UNPACKED_BYTES}"
            f' | cpio -t | {{ read -r first && echo "$first"; grep -a {word}; }}'
        )
        found, code = self._limited(script, SEARCH_SECONDS)
        names = [name for name in found.decode("utf-8", "replace").split("\n") if name]
        return None if code == _TIMED_OUT or not names else names

    def _limited(self, script: str, seconds: int) -> tuple[bytes, int]:
        """What a script of ours prints, at most PRINTED_BYTES, and its exit code."""
        # Strings of libguestfs's protocol have no NUL, and Python's binding wants UTF-8.
        answer = self._shell(
            f"rm -f /tmp/kit; {{ timeout {seconds} sh -c {shlex.quote(script)} 2>/dev/null;"
            f" echo $? >/tmp/kit; }} | head -c {PRINTED_BYTES} | base64 -w 0; echo;"
            " cat /tmp/kit || true"
        )
        encoded, _, code = answer.partition("\n")
        return base64.b64decode(encoded), int(code.strip() or -1)

    def _shell(self, script: str) -> str:
        """Runs a script of ours with the appliance's programs; the guest is in /sysroot.

        Raises:
            KitError: it does not end in RUN_SECONDS; the appliance is gone then.
        """
        late = threading.Event()
        try:
            with _killed_if_late(self._handle.get_pid(), late):
                answer: str = self._handle.debug("sh", [script])
        except RuntimeError as error:
            raise KitError(
                f"script in the appliance: {str(error)[:MAX_REASON]}",
                hint="this guest may be hostile; or the node is very slow",
            ) from error
        return answer

    def run(self, argv: Sequence[str]) -> None:
        """Runs a program of the guest in the appliance; see `first_disk`.

        Raises:
            KitError: it fails; the error has the last line that it printed. Or it does not end in
                RUN_SECONDS; the appliance is gone then.
        """
        what = f"{argv[0]} of the guest, in the appliance"
        late = threading.Event()
        try:
            with _killed_if_late(self._handle.get_pid(), late):
                self._handle.command(list(argv))
        except RuntimeError as error:
            if late.is_set():
                raise KitError(
                    f"{what}: it did not end in {RUN_SECONDS:.0f} s",
                    hint="this guest may be hostile; or the node is very slow",
                ) from error
            lines = [line for line in str(error).splitlines() if line.strip()][-MAX_LINES:]
            for line in lines:
                log.info("  %s: %s", argv[0], line[:MAX_REASON])
            raise KitError(
                f"{what}: {lines[-1][:MAX_REASON] if lines else 'it failed'}",
                hint="see the lines above",
            ) from error

    def first_disk(self) -> str:
        """The name of the guest's first disk for programs in the appliance.

        /dev/sda may be another one there: only libguestfs's own functions translate it.
        """
        return f"/dev/disk/guestfs/{FIRST}"


def file_systems(handle: Handle) -> list[FileSystem]:
    """All file systems on the disks and in their volumes, except inside encrypted ones."""
    types: dict[str, str] = handle.list_filesystems()
    # It leaves out encrypted volumes and members of volume groups and RAID arrays.
    for listing in (handle.list_devices, handle.list_partitions, handle.lvs):
        for device in listing():
            types.setdefault(device, handle.vfs_type(device))
    return [
        FileSystem(device, kind, handle.vfs_uuid(device), handle.vfs_label(device))
        for device, kind in types.items()
        if kind
    ]


def _line(found: str) -> Line | None:
    """A line of grep's, with a byte 1 behind the name; None if the name had an end of line."""
    path, mark, rest = found.partition("\x01")
    number, colon, text = rest.partition(":")
    if not (mark and colon and number.isdecimal()):
        return None
    return Line(path.removeprefix("/sysroot"), int(number), text)


@contextmanager
def _killed_if_late(qemu: int, late: threading.Event) -> Iterator[None]:
    """Kills QEMU after RUN_SECONDS, and sets an event: calls of libguestfs have no limit.

    Signals do not end them, either.
    """

    def end() -> None:
        late.set()
        with suppress(ProcessLookupError):
            os.kill(qemu, signal.SIGKILL)

    timer = threading.Timer(RUN_SECONDS, end)
    with signals_blocked():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
