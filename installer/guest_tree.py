"""The guest's file tree while it is built: paths that cannot escape it, and its chroot."""

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

# Programs in the guest do not load modules, set the clock, reboot, or load profiles into the node's
# kernel, whatever a package's script tries (capabilities(7)).
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
    """A file for the guest: its whole text and its permission bits."""

    text: str
    mode: int = 0o644


class GuestTree:
    """A mounted guest.

    Paths are relative to its root, and refused when they are absolute, hold `..`, or lead through
    a symlink: a link in the guest must not make us write on the node. `devices` are those that
    the tree is mounted from. Variables call it `target`, as debootstrap(8) and the site's hooks do.
    """

    def __init__(self, root: Path, devices: Devices | None = None) -> None:
        self.root = root
        self.devices = devices
        self._started: list[Running] = []

    def path(self, relative: str) -> Path:
        """The node's path of a file in the guest.

        Raises:
            KitError: the path would leave the guest, or goes through a symlink that could.
        """
        pure = PurePosixPath(relative)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts:
            raise KitError(f"path {relative!r} in the guest: not a path below its root", hint=_BUG)
        # usr-merged guests have /bin -> usr/bin; what leads elsewhere on the node is refused.
        parent = (self.root / pure.parent).resolve()
        if not parent.is_relative_to(self.root.resolve()):
            raise KitError(
                f"path {relative!r} in the guest: it leads through a symlink out of it",
                hint="see which package or site hook makes that link, and leave it out",
            )
        return parent / pure.name

    def exists(self, relative: str) -> bool:
        """Whether the guest has such a file, directory or link (which may dangle)."""
        return os.path.lexists(self.path(relative))

    def read(self, relative: str) -> str:
        """The text of a regular file; bytes that are no UTF-8 are kept, as surrogates.

        Raises:
            KitError: it is missing, or not a regular file.
        """
        path = self.path(relative)
        if path.is_symlink() or not path.is_file():
            raise KitError(
                f"{relative} in the guest: not a regular file",
                hint="see which package or site hook removes it, and leave it out",
            )
        return path.read_text(errors="surrogateescape")

    def write(self, relative: str, content: str | bytes, mode: int = 0o644) -> None:
        """Puts a file there with these permission bits, whole or not at all; makes directories.

        What stood there is replaced: a symlink itself, not what it points to.
        """
        path = self.path(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode(errors="surrogateescape")
        # The file system is flushed when it is unmounted.
        write_whole(path, content, mode=mode)

    def make_directory(self, relative: str) -> None:
        """Makes a directory and those above it, where they are missing."""
        path = self.path(relative)
        path.mkdir(parents=True, exist_ok=True)

    def write_all(self, files: Mapping[str, File]) -> None:
        """Writes the files that a hook has rendered."""
        for relative, file in files.items():
            self.write(relative, file.text, file.mode)

    def remove(self, relative: str) -> None:
        """Removes a file or symlink, if it is there."""
        self.path(relative).unlink(missing_ok=True)

    def symlink(self, relative: str, goal: str) -> None:
        """Puts a symlink there; what stood there is replaced.

        An absolute `goal` is a path of the guest. The link is relative nevertheless: a site hook
        that writes to it from the node would change the node's own file otherwise.
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

        By default it syncs nothing: each sync would wait for all that was unpacked before, and the
        unmounting at the end syncs.
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
        """Starts a program of the guest in the guest; what it gives awaits its end when called."""
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
        """Ends what `start` began and nobody awaited, as a failure came between."""
        for running in self._started:
            running.end()


@contextmanager
def chroot(
    target: GuestTree, devices: Collection[Path], uuids: Mapping[str, Path] = _NONE
) -> Iterator[None]:
    """Makes programs of the guest runnable: /proc, /sys, a /dev of its own; no service may start.

    Its /dev holds the usual character devices and the given block devices, nothing else of the
    node; those of `uuids` have the links by UUID that udev would make. At the end whatever still
    runs there is ended, and what was mounted is unmounted, also by others.
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
        # First those of ours: else they would count as left running by somebody.
        stack.enter_context(undone(target.end_started))
        yield


@contextmanager
def proc_of_guest(target: GuestTree) -> Iterator[None]:
    """Mounts a /proc through which packages change nothing of the node's kernel.

    That is its settings (/proc/sys, proc_sys(5)), and what it takes for a program (binfmt_misc of
    the kernel's documentation). The latter maintainer scripts mount where they do not find it, and
    fail where they cannot write to it: they find plain files there.
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
    """Keeps services of the guest from being started, and leaves the policy that it has.

    A package or a site hook may have one of its own: that is put back at the end, unless another
    has taken the place of ours meanwhile.
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
