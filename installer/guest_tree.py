"""The guest's file tree while it is made: safe access to its files, and its chroot."""

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from installer.disks.prepare import Devices
from node.cleanup import undone
from node.errors import KitError
from node.files import write_whole
from node.isolation.mount import end_processes_in, mounted, read_only, sysfs_apart
from node.run import Result, Running, start

# invoke-rc.d(8): 101 is "action forbidden by policy".
POLICY_RC_D = "usr/sbin/policy-rc.d"
POLICY = "#!/bin/sh\nexit 101\n"

# Programs in the guest must not load modules, set the clock, reboot, or load profiles into the
# node's kernel (capabilities(7)).
_UNNEEDED = (
    *("sys_module", "sys_rawio", "sys_time", "sys_boot", "syslog", "wake_alarm"),
    *("audit_control", "mac_admin", "mac_override"),
)
CONFINED = ("setpriv", f"--bounding-set={','.join(f'-{name}' for name in _UNNEEDED)}", "--")

DEVICES = {
    "null": (1, 3, 0o666),
    "zero": (1, 5, 0o666),
    "full": (1, 7, 0o666),
    "random": (1, 8, 0o666),
    "urandom": (1, 9, 0o666),
    "tty": (5, 0, 0o666),
    "console": (5, 1, 0o600),
}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_NONE: Mapping[str, Path] = MappingProxyType({})


_BUG = "this is a bug: report it with the name of the hook"


@dataclass(frozen=True)
class File:
    """A file for the guest: its text and its permission bits."""

    text: str
    mode: int = 0o644


class GuestTree:
    """A mounted guest.

    Paths are relative to its root. Absolute paths, paths with `..`, and paths that lead out of the
    guest through a symlink are refused: we must not write on the node. `devices` are those that the
    tree is mounted from. Variables are called `target`, as in debootstrap(8) and the site's hooks.
    """

    def __init__(self, root: Path, devices: Devices | None = None) -> None:
        self.root = root
        self.devices = devices
        self._started: list[Running] = []

    def path(self, relative: str) -> Path:
        """The node's path of a file in the guest.

        Raises:
            KitError: the path leads out of the guest.
        """
        pure = PurePosixPath(relative)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts:
            raise KitError(f"path {relative!r} in the guest: not a path below its root", hint=_BUG)
        # A merged /usr has /bin -> usr/bin, so only links out of the guest are refused.
        parent = (self.root / pure.parent).resolve()
        if not parent.is_relative_to(self.root.resolve()):
            raise KitError(
                f"path {relative!r} in the guest: a symlink leads out of the guest",
                hint="find the package or site hook that makes the link, and remove it",
            )
        return parent / pure.name

    def exists(self, relative: str) -> bool:
        """Whether the guest has such a file, directory or symlink (which may be dangling)."""
        return os.path.lexists(self.path(relative))

    def read(self, relative: str) -> str:
        """The text of a regular file; bytes that are not UTF-8 are in it as surrogates.

        Raises:
            KitError: it is missing, or not a regular file.
        """
        path = self.path(relative)
        if path.is_symlink() or not path.is_file():
            raise KitError(
                f"{relative} in the guest: not a regular file",
                hint="find the package or site hook that removes or replaces it, and remove that",
            )
        return path.read_text(errors="surrogateescape")

    def write(self, relative: str, content: str | bytes, mode: int = 0o644) -> None:
        """Writes a file with these permission bits atomically, and makes its directories.

        An existing file is replaced; of a symlink, the symlink itself and not its target.
        """
        path = self.path(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode(errors="surrogateescape")
        # The file system is flushed when it is unmounted.
        write_whole(path, content, mode=mode)

    def make_directory(self, relative: str) -> None:
        """Makes a directory and its parents, if they are missing."""
        path = self.path(relative)
        path.mkdir(parents=True, exist_ok=True)

    def write_all(self, files: Mapping[str, File]) -> None:
        """Writes the files that a hook has rendered."""
        for relative, file in files.items():
            self.write(relative, file.text, file.mode)

    def remove(self, relative: str) -> None:
        """Removes a file or symlink, if it exists."""
        self.path(relative).unlink(missing_ok=True)

    def symlink(self, relative: str, goal: str) -> None:
        """Makes a symlink; an existing file is replaced.

        An absolute `goal` is a path in the guest. The link is made relative: else a site hook that
        writes to it from outside the chroot would change a file of the node.
        """
        path = self.path(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if goal.startswith("/"):
            goal = os.path.relpath(self.root.resolve() / goal.lstrip("/"), path.parent)
        path.symlink_to(goal)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as run() calls it
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
        syncs: bool = False,
    ) -> Result:
        """Runs a program of the guest in the guest; see node.run.run.

        By default its syncs do nothing: each would wait until all unpacked files are on the disk,
        and unmounting syncs at the end.
        """
        return self.start(argv, input=input, check=check, on_line=on_line, syncs=syncs)()

    def start(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as run() calls it
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
        syncs: bool = False,
    ) -> Running:
        """Starts a program of the guest in the guest; call the result to wait for its end."""
        running = start(
            [*CONFINED, "chroot", self.root, *argv],
            input=input,
            check=check,
            on_line=on_line,
            what=f"{argv[0]} in the guest",
            syncs=syncs,
        )
        self._started.append(running)
        return running

    def end_started(self) -> None:
        """Ends programs that `start` began and that nobody awaited because of a failure."""
        for running in self._started:
            running.end()


@contextmanager
def chroot(
    target: GuestTree, devices: Collection[Path], uuids: Mapping[str, Path] = _NONE
) -> Iterator[None]:
    """Prepares a chroot for programs of the guest: /proc, /sys, its own /dev; no services start.

    /dev has the usual character devices and the given block devices, and no others of the node. For
    `uuids`, it has the links by UUID that udev would make. At the end, processes in the chroot are
    ended, and all file systems there are unmounted, also those that others have mounted.
    """
    with ExitStack() as stack:
        stack.enter_context(proc_of_guest(target))
        for name, options in (
            ("dev", ("nosuid", "mode=755", "size=1m")),
            ("run", ("nosuid", "nodev", "mode=755")),
        ):
            place = target.path(name)
            place.mkdir(exist_ok=True)
            stack.enter_context(mounted(name, place, fstype="tmpfs", options=options))
        sys = target.path("sys")
        sys.mkdir(exist_ok=True)
        stack.enter_context(sysfs_apart(sys, ("nosuid", "nodev", "noexec", "ro")))
        dev = target.path("dev")
        _fill_dev(dev, devices)
        for uuid, device in uuids.items():
            target.symlink(f"dev/disk/by-uuid/{uuid}", str(device))
        stack.enter_context(
            mounted("devpts", dev / "pts", fstype="devpts", options=("newinstance", "ptmxmode=666"))
        )
        (target.path("run") / "lock").mkdir(mode=0o1777)
        stack.enter_context(services_forbidden(target))
        stack.enter_context(undone(lambda: end_processes_in(target.root)))
        # Our own programs first: else they would be reported as left running.
        stack.enter_context(undone(target.end_started))
        yield


@contextmanager
def proc_of_guest(target: GuestTree) -> Iterator[None]:
    """Mounts a /proc through which packages cannot change the node's kernel.

    Its settings (/proc/sys, proc_sys(5)) are read-only. For binary formats (binfmt_misc in the
    kernel's documentation), there are plain files: maintainer scripts would mount binfmt_misc if it
    were missing, and fail if they could not write to it.
    """
    proc = target.path("proc")
    proc.mkdir(exist_ok=True)
    formats = proc / "sys/fs/binfmt_misc"
    with ExitStack() as stack:
        options: tuple[str, ...] = ("nosuid", "nodev", "noexec")
        stack.enter_context(mounted("proc", proc, fstype="proc", options=options))
        stack.enter_context(read_only(proc / "sys"))
        if formats.is_dir():  # a kernel may be without it
            options = (*options, "mode=755", "size=1m")
            stack.enter_context(mounted("formats", formats, fstype="tmpfs", options=options))
            (formats / "status").write_text("enabled\n")
            (formats / "register").touch()
        yield


@contextmanager
def services_forbidden(target: GuestTree) -> Iterator[None]:
    """Keeps services of the guest from being started, with a policy-rc.d.

    If a package or a site hook has its own policy-rc.d, it is restored at the end, unless ours was
    replaced in the meantime.
    """
    path = target.path(POLICY_RC_D)
    aside = path.with_name(f"{path.name}.aside")
    if os.path.lexists(path):
        path.rename(aside)
    target.write(POLICY_RC_D, POLICY, 0o755)

    def put_back() -> None:
        is_ours = path.is_file() and not path.is_symlink() and target.read(POLICY_RC_D) == POLICY
        if not is_ours:
            aside.unlink(missing_ok=True)
        elif os.path.lexists(aside):
            aside.replace(path)
        else:
            path.unlink()

    with undone(put_back):
        yield


def _fill_dev(dev: Path, devices: Collection[Path]) -> None:
    for name, (major, minor, mode) in DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR | mode, os.makedev(major, minor))
        (dev / name).chmod(mode)  # mknod(2) obeys the umask
    for name, goal in LINKS.items():
        (dev / name).symlink_to(goal)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    (dev / "shm").chmod(0o1777)
    for device in devices:
        place = dev / device.relative_to("/dev")
        place.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(place, stat.S_IFBLK | 0o660, device.stat().st_rdev)
