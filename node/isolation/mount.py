"""Mounts and unmounts file systems. Unmounting is never lazy: it retries, then names holders."""

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
# Options that are flags of mount(2); all others are passed to the file system.
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
    """Mounts a file system on a directory; unmounts it and all mounts below it at the end.

    Raises:
        KitError: the kernel refuses, or something holds the mount at the end.
    """
    _mount(source, target, fstype, options)
    with undone(lambda: unmount(target)):
        yield target


@contextmanager
def sysfs_apart(target: Path, options: Sequence[str]) -> Iterator[Path]:
    """Mounts the sysfs of an empty network namespace, otherwise like `mounted`.

    The kernel refuses to mount the same file system twice on one directory (EBUSY, mount(2)). As
    each network namespace has its own sysfs, a site hook can mount the node's over this one.
    """
    failures: list[BaseException] = []

    def mount() -> None:
        try:
            with suppress(OSError):  # without such namespaces the node's own sysfs is mounted
                syscalls.unshare_network()
            _mount("sysfs", target, "sysfs", options)
        except BaseException as error:  # raised below, in the thread that waits
            failures.append(error)

    # In a thread, so that only the thread changes its namespace. The namespace ends with the
    # thread and the mount.
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
            hint="see dmesg for the kernel's reason",
        ) from error


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Makes a directory and all below it read-only, as seen by this path (a bind mount).

    Raises:
        OSError: the kernel refuses.
        KitError: something holds the mount at the end.
    """
    syscalls.mount(place, place, None, syscalls.MS_BIND)
    with undone(lambda: unmount(place)):
        remounted_read_only(place)
        yield


def remounted_read_only(place: Path) -> None:
    """Makes one mount read-only, but not other mounts of the same file system (mount(2)).

    Raises:
        OSError: the kernel refuses.
    """
    flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
    syscalls.mount(None, place, None, flags)


@contextmanager
def flushed(place: Path, what: str) -> Iterator[None]:
    """Writes a file system's dirty pages to its device in the background, and at the end.

    The kernel would begin only after half a minute, or when a tenth of the memory is dirty. And
    only syncfs(2) reports data that could not be written; unmounting does not.

    Args:
        place: a directory of the file system.
        what: how the error names the disk of the file system.

    Raises:
        KitError: data could not be written since the beginning.
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
            os.close(descriptor)  # also after a signal: while it is open, unmounting fails
        if failures:
            raise KitError(
                f"flush of {what}: {failures[0].strerror}",
                hint="the disk, or the storage below it, is full or fails: see df and dmesg",
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
    """The next mount point to unmount at or below a directory; None if there is none left.

    It is the newest one there. If a later mount over a directory above hides it, that mount is
    unmounted first: a hidden mount cannot be reached.
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
    """Unmounts everything at and below a directory.

    Raises:
        KitError: it is still busy after BUSY_SECONDS; the error names the processes.
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
                    hint="end these processes; a program that a hook starts must end before the"
                    " hook does",
                ) from None
            time.sleep(0.1)


def end_processes_in(top: Path) -> None:
    """Ends processes that were left running in a guest that is being built, and logs their names.

    All our descendants are ended as well, as one of them may be about to enter the guest. Orphans
    of hooks are our descendants, since we are the first process of the PID namespace.
    """
    started = time.monotonic()
    warned: set[int] = set()
    while processes := [*processes_in(top), *descendants()]:
        waited = time.monotonic() - started
        if waited > TERM_SECONDS + KILL_SECONDS:
            return  # the error of unmounting will name them
        for process in processes:
            with suppress(ProcessLookupError):
                if process.pid not in warned:
                    warned.add(process.pid)
                    log.warning("%s was left running in the guest: ended it", process)
                    os.kill(process.pid, signal.SIGTERM)
                if waited > TERM_SECONDS:
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
