"""What proc(5) tells of processes: which there are, what they have open, what they see mounted."""

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
    """A process of this node, as people know it."""

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
    """All mounts of a mount namespace, in the order in which they were mounted.

    Args:
        mountinfo: the text of /proc/PID/mountinfo.
    """
    found = []
    # Names may have what Python takes for other blanks and ends of lines.
    for line in mountinfo.split("\n"):
        if line:
            fields = line.split(" ")
            fstype, source = fields[fields.index("-") + 1 :][:2]
            point = Path(unescaped(fields[4]))
            found.append(Mount(int(fields[0]), fields[2], point, fstype, unescaped(source)))
    return found


def unescaped(field: str) -> str:
    r"""A name as it is: proc(5) has blanks, ends of lines and backslashes in octal, like `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


@dataclass
class _Outside:
    """The /proc of the PID namespace that we have left, if we have."""

    proc: Path | None = None


_outside = _Outside()


def see_outside(proc: Path) -> None:
    """From now on, all processes of the node are seen in this /proc, and ours alone in PROC."""
    _outside.proc = proc


def of_the_node() -> Iterator[Path]:
    """Where proc(5) tells of each process of the node."""
    yield from (_outside.proc or PROC).glob("[0-9]*")


def descriptors() -> Iterator[Path]:
    """What processes of the node have open (/proc/PID/fd/N), without our own."""
    own = (_outside.proc / "self").readlink().name if _outside.proc else str(os.getpid())
    for process in of_the_node():
        if process.name != own:
            with suppress(OSError):  # it ended; Path.glob() would not take that
                yield from (process / "fd").iterdir()


def may_write(descriptor: Path) -> bool:
    """Whether what `descriptors` gave may write, by its flags, which are octal.

    Raises:
        OSError: it was closed, or its process has ended.
    """
    flags = _fdinfo(descriptor, "flags")
    return flags is None or int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def file_system(fd: int) -> str | None:
    """The type of the file system that a file of ours is on; None where its mount is not seen.

    By its mount: btrfs has device numbers that no mount shows, and they look like NFS's.
    """
    own = PROC / "self"
    number = _fdinfo(own / f"fd/{fd}", "mnt_id")
    for mount in mounts(kernel_text(own / "mountinfo")):
        if str(mount.id) == number:
            return mount.fstype
    return None


def _fdinfo(descriptor: Path, field: str) -> str | None:
    """A number of what the kernel tells of a descriptor (proc_pid_fdinfo(5))."""
    told = (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text()
    found = re.search(rf"^{field}:\s*(\d+)$", told, re.M)
    return found and found[1]


def processes_in(top: Path) -> list[Process]:
    """The processes that have their root, directory or an open file at or below a directory.

    Those of our own PID namespace, without ourselves.
    """
    found = []
    for proc in PROC.glob("[0-9]*"):
        if int(proc.name) == os.getpid():
            continue
        with suppress(OSError):  # it may end while we look
            links = [proc / "root", proc / "cwd", proc / "exe", *(proc / "fd").iterdir()]
            if _one_is_below(links, top):
                found.append(Process(int(proc.name), command(proc)))
    return found


def command(proc: Path) -> str:
    """The name of a process's program, by its directory in proc(5).

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
    """Our children, theirs, and so on, as far as they are alive."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for proc in PROC.glob("[0-9]*"):
        with suppress(OSError):
            # proc_pid_stat(5): the name stands in parentheses, and may itself hold some.
            name, _, fields = kernel_text(proc / "stat").partition("(")[2].rpartition(") ")
            state, parent = fields.split()[:2]
            if state not in ("Z", "X"):
                parents[int(proc.name)], names[int(proc.name)] = int(parent), name
    found, generation = [], {os.getpid()}
    while generation := {pid for pid, parent in parents.items() if parent in generation}:
        found += [Process(pid, names[pid]) for pid in sorted(generation)]
    return found
