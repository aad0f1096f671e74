"""Reads proc(5): the processes, their open files and their mounts."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from node.files import kernel_text

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process: its number and the name of its program."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


class Mount(NamedTuple):
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    id: int
    device: str  # "major:minor"
    point: Path
    fstype: str
    source: str


def mounts(mountinfo: str) -> list[Mount]:
    """Parses the mounts of a mount namespace, in the order in which they were mounted.

    Args:
        mountinfo: the text of /proc/PID/mountinfo.
    """
    found = []
    # Not split() or splitlines(): names may hold other characters that these take for separators.
    for line in mountinfo.split("\n"):
        if line:
            fields = line.split(" ")
            fstype, source = fields[fields.index("-") + 1 :][:2]
            point = Path(unescaped(fields[4]))
            found.append(Mount(int(fields[0]), fields[2], point, fstype, unescaped(source)))
    return found


def unescaped(field: str) -> str:
    r"""Decodes a name: proc(5) writes blanks, line feeds and backslashes in octal, like `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


@dataclass
class _Outside:
    """The /proc of the PID namespace that we left; None if we did not leave one."""

    proc: Path | None = None


_outside = _Outside()


def see_outside(proc: Path) -> None:
    """Sets the /proc that shows all processes of the node; PROC shows only our namespace's."""
    _outside.proc = proc


def of_the_node() -> Iterator[Path]:
    """The directory in /proc of each process of the node."""
    yield from (_outside.proc or PROC).glob("[0-9]*")


def process_of_the_node(number: int) -> Path:
    """The directory in /proc of a process, by its ID in the node's PID namespace."""
    return (_outside.proc or PROC) / str(number)


def descriptors() -> Iterator[Path]:
    """The open descriptors of all processes of the node (/proc/PID/fd/N), except our own."""
    own = (_outside.proc / "self").readlink().name if _outside.proc else str(os.getpid())
    for process in of_the_node():
        if process.name != own:
            with suppress(OSError):  # it has ended
                yield from (process / "fd").iterdir()


def may_write(descriptor: Path) -> bool:
    """Whether a descriptor of `descriptors` is open for writing, by its flags (octal).

    Raises:
        OSError: it was closed, or its process has ended.
    """
    flags = _fdinfo(descriptor, "flags")
    return flags is None or int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def file_system(fd: int) -> str | None:
    """The type of the file system of a file that we have open; None if its mount is not visible.

    Found by the mount, not by st_dev: the device numbers of btrfs are those of no mount.
    """
    own = PROC / "self"
    number = _fdinfo(own / f"fd/{fd}", "mnt_id")
    for mount in mounts(kernel_text(own / "mountinfo")):
        if str(mount.id) == number:
            return mount.fstype
    return None


def _fdinfo(descriptor: Path, field: str) -> str | None:
    """A number that the kernel reports of a descriptor (proc_pid_fdinfo(5)), as text."""
    told = (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text()
    found = re.search(rf"^{field}:\s*(\d+)$", told, re.M)
    return found and found[1]


def processes_in(top: Path) -> list[Process]:
    """The processes whose root, working directory, program or open files are at or below `top`.

    Only processes of our own PID namespace, without ourselves.
    """
    found = []
    for proc in PROC.glob("[0-9]*"):
        if int(proc.name) == os.getpid():
            continue
        with suppress(OSError):  # it may end meanwhile
            links = [proc / "root", proc / "cwd", proc / "exe", *(proc / "fd").iterdir()]
            if _one_is_below(links, top):
                found.append(Process(int(proc.name), command(proc)))
    return found


def command(proc: Path) -> str:
    """The name of a process's program.

    Args:
        proc: its directory in /proc.

    Raises:
        OSError: it has ended.
    """
    return kernel_text(proc / "comm").strip()


def _one_is_below(links: Iterable[Path], top: Path) -> bool:
    for link in links:
        with suppress(OSError):
            place = Path(str(link.readlink()).removesuffix(" (deleted)"))
            if place == top or top in place.parents:
                return True
    return False


def descendants() -> list[Process]:
    """All living descendants of this process: children, their children, and so on."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for proc in PROC.glob("[0-9]*"):
        with suppress(OSError):
            # proc_pid_stat(5): the name is in parentheses, and may itself contain parentheses.
            name, _, fields = kernel_text(proc / "stat").partition("(")[2].rpartition(") ")
            state, parent = fields.split()[:2]
            if state not in ("Z", "X"):
                parents[int(proc.name)], names[int(proc.name)] = int(parent), name
    found, generation = [], {os.getpid()}
    while generation := {pid for pid, parent in parents.items() if parent in generation}:
        found += [Process(pid, names[pid]) for pid in sorted(generation)]
    return found
