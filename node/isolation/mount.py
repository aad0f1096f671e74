"""Mounts, and unmounting that never is lazy: settle, retry, then name the holder."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from node import syscalls
from node.cleanup import signals_blocked, undone
from node.errors import KitError
from node.files import kernel_text
from node.log import log
from node.processes import PROC, descendants, mounts, processes_in

BUSY_SECONDS = 10.0
FLUSH_SECONDS = 0.5
TERM_SECONDS = 3.0
KILL_SECONDS = 3.0
# Options that are flags of mount(2); all others are the file system's own.
FLAGS = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "bind": syscalls.MS_BIND,
}


@contextmanager
def mounted(
    source: str | Path, target: Path, *, fstype: str, options: Sequence[str] = ()
) -> Iterator[Path]:
    """Mounts a file system on a directory, and unmounts it and all below it at the end.

    Raises:
        KitError: the kernel refuses, or something holds the mount at the end.
    """
    _mount(source, target, fstype, options)
    with undone(lambda: unmount(target)):
        yield target


@contextmanager
def sysfs_apart(target: Path, options: Sequence[str]) -> Iterator[Path]:
    """Mounts a sysfs that is not the node's own, as `mounted` does.

    It is that of a network namespace without network cards. The kernel refuses to mount the same
    file system on the same directory twice (EBUSY, mount(2)), and there is one sysfs for each
    network namespace: this way, a site hook can mount the node's over this one.
    """
    failures: list[BaseException] = []

    def mount() -> None:
        try:
            with suppress(OSError):  # a kernel without such namespaces: the node's own then
                syscalls.unshare_network()
            _mount("sysfs", target, "sysfs", options)
        except BaseException as error:  # raised in the thread that waits
            failures.append(error)

    # In a thread: it alone changes its namespace, which ends with it and with the mount.
    thread = threading.Thread(target=mount)
    with signals_blocked():
        thread.start()
    thread.join()
    if failures:
        raise failures[0]
    with undone(lambda: unmount(target)):
        yield target


def _mount(source: str | Path, target: Path, fstype: str, options: Sequence[str]) -> None:
    flags = sum(FLAGS.get(option, 0) for option in options)
    data = ",".join(option for option in options if option not in FLAGS)
    try:
        syscalls.mount(source, target, fstype, flags, data)
    except OSError as error:
        raise KitError(
            f"mount of {source} on {target} as {fstype}: {error.strerror}",
            hint="dmesg has what the kernel says of it",
        ) from error


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Makes what is at and below a directory of a mount read-only, as seen through this path.

    Raises:
        OSError: the kernel refuses.
        KitError: something holds the mount at the end.
    """
    syscalls.mount(place, place, None, syscalls.MS_BIND)
    with undone(lambda: unmount(place)):
        remounted_read_only(place)
        yield


def remounted_read_only(place: Path) -> None:
    """Makes one mount read-only, not the file system that others have mounted, too (mount(2)).

    Raises:
        OSError: the kernel refuses.
    """
    flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
    syscalls.mount(None, place, None, flags)


@contextmanager
def flushed(place: Path, what: str) -> Iterator[None]:
    """Writes a file system's dirty pages to its device while it is worked on, and at the end.

    The kernel would begin after half a minute, or when a tenth of the memory is dirty. And of what
    it failed to write, unmounting tells nothing: only this does (syncfs(2), errors).

    Args:
        place: a directory of the file system.
        what: what the file system is on, for the error.

    Raises:
        KitError: something could not be written since the beginning.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    over = threading.Event()
    failures: list[OSError] = []

    def flush() -> None:
        try:
            syscalls.syncfs(descriptor)
        except OSError as error:
            failures.append(error)

    def flush_again_and_again() -> None:
        while not over.wait(FLUSH_SECONDS):
            flush()

    def finish() -> None:
        try:
            over.set()
            writer.join()
            flush()
        finally:
            os.close(descriptor)  # also when a signal comes: open, it would keep from unmounting
        if failures:
            raise KitError(
                f"flush of {what}: {failures[0].strerror}",
                hint="the disk, or what it stands on, is full or fails: see df and dmesg",
            )

    writer = threading.Thread(target=flush_again_and_again)
    with signals_blocked():
        writer.start()
    with undone(finish):
        yield


def mounts_below(top: Path, mountinfo: str) -> list[Path]:
    """The mount points at and below a directory, innermost and latest first.

    Args:
        mountinfo: the text of /proc/self/mountinfo (proc_pid_mountinfo(5)).
    """
    return [point for point in reversed(_points(mountinfo)) if point == top or top in point.parents]


def first_to_unmount(top: Path, mountinfo: str) -> Path | None:
    """What has to be unmounted first of all at and below a directory; None: nothing is left.

    That is what was mounted last there, or over a directory above it: a mount that is hidden
    cannot be reached before.
    """
    points = _points(mountinfo)
    below = mounts_below(top, mountinfo)
    if not below:
        return None
    later = points[len(points) - points[::-1].index(below[0]) :]
    hiding = [point for point in later if point in below[0].parents]
    return mounts_below(hiding[-1], mountinfo)[0] if hiding else below[0]


def _points(mountinfo: str) -> list[Path]:
    return [mount.point for mount in mounts(mountinfo)]


def unmount(top: Path) -> None:
    """Unmounts all at and below a directory.

    Raises:
        KitError: something still holds it after some seconds; the processes are named.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while point := first_to_unmount(top, kernel_text(PROC / "self/mountinfo")):
        try:
            syscalls.umount(point)
        except OSError:
            if time.monotonic() > deadline:
                holders = ", ".join(str(process) for process in processes_in(point))
                raise KitError(
                    f"unmount of {point}: held by {holders or 'an unknown user'}",
                    hint="what runs in the guest while it is built must end with the hook that"
                    " started it",
                ) from None
            time.sleep(0.1)


def end_processes_in(top: Path) -> None:
    """Ends what was left running in a guest that is being built, and names it in the log.

    All our descendants go with it: one of them may be about to enter the guest. What a hook leaves
    behind is ours, since orphans fall to the first process of a PID namespace.
    """
    started = time.monotonic()
    warned: set[int] = set()
    while processes := [*processes_in(top), *descendants()]:
        waited = time.monotonic() - started
        if waited > TERM_SECONDS + KILL_SECONDS:
            return  # unmounting will name it
        for process in processes:
            with suppress(ProcessLookupError):
                if process.pid not in warned:
                    warned.add(process.pid)
                    log.warning("%s was left running in the guest: ended it", process)
                    os.kill(process.pid, signal.SIGTERM)
                if waited > TERM_SECONDS:
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
