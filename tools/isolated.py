#!/usr/bin/python3
"""isolated.py COMMAND [ARG...]: runs a command in its own PID and mount namespaces and /tmp.

When the command or this program ends, even by SIGKILL, the kernel ends all processes that it
started, and drops its mounts and autoclear loop devices. The variable KIT_TESTS_RUN names a
directory on a disk for the command's large files. Only this run uses it, and it is removed at the
end; the next run removes that of a killed one. Inside a run, this program gives a command new
namespaces, but the same directory.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from node.cleanup import SIGNALS  # noqa: E402 - found by the line above
from node.errors import KitError  # noqa: E402
from node.isolation.namespace import CLONE_NEWNS, contained  # noqa: E402
from node.syscalls import MS_BIND, mount  # noqa: E402

RUN = "KIT_TESTS_RUN"
DISKS = Path("/var/tmp")
PREFIX = "kit-tests."
TMP = Path("/tmp")
# Where the kit keeps files on a node: journals of copies, records of mounts.
STATE = (Path("/var/lib/ganeti-instance-kit"), Path("/run/ganeti-instance-kit/mounts"))
# How long the command may go on after Ctrl-C, to print its summary. It gets the SIGINT, too.
INTERRUPT_SECONDS = 20
USAGE = 64  # EX_USAGE of sysexits.h


def current_run() -> Path | None:
    """The directory of the run that we are in; None outside of runs, or if it is not visible."""
    named = os.environ.get(RUN)
    return Path(named) if named and Path(named).is_dir() else None


@contextmanager
def run_directory() -> Iterator[Path]:
    """Makes a directory for the run's files, locked while a process of the run lives."""
    for path in DISKS.glob(f"{PREFIX}*"):
        if path.lstat().st_uid == os.geteuid():
            with suppress(BlockingIOError, FileNotFoundError), _locked(path):
                shutil.rmtree(path)
    while True:
        made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=DISKS))
        # Another run may remove it before it is locked.
        with suppress(BlockingIOError, FileNotFoundError), _locked(made) as descriptor:
            if os.fstat(descriptor).st_nlink:
                try:
                    with _mounts_as_before():
                        yield made
                finally:
                    shutil.rmtree(made)
                return


@contextmanager
def _mounts_as_before() -> Iterator[None]:
    """Restores our mount namespace at the end, so that removing files cannot reach other mounts."""
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        # Python has a function for setns(2) since 3.12.
        if ctypes.CDLL(None, use_errno=True).setns(before, CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(before)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def first_process(command: list[str], run: Path) -> int:
    """Runs the command as first process of the namespaces, reaps orphans; returns its exit code."""
    for number in (*SIGNALS, signal.SIGALRM):
        signal.signal(number, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    _mount_private()
    process = subprocess.Popen(command, env={**os.environ, RUN: str(run)})
    while True:
        pid, status = os.wait()
        if pid == process.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        signal.alarm(INTERRUPT_SECONDS)
    else:
        os._exit(128 + number)  # then the kernel ends all other processes of the namespace


def _mount_private() -> None:
    """Mounts empty directories where the kit and the tests write; keeps a checkout in /tmp."""
    here = Path.cwd()
    checkout = os.open(TOP, os.O_PATH | os.O_CLOEXEC)
    mount("tmpfs", TMP, "tmpfs", 0, "mode=1777")
    if TOP.is_relative_to(TMP):
        TOP.mkdir(parents=True)
        mount(f"/proc/self/fd/{checkout}", TOP, None, MS_BIND)
        os.chdir(here)
    os.close(checkout)
    for path in STATE:
        path.mkdir(parents=True, exist_ok=True)
        mount("tmpfs", path, "tmpfs", 0, "mode=755")


def main(command: list[str]) -> int:
    """Runs the command isolated; returns its exit code."""
    if not command:
        print(__doc__, file=sys.stderr)
        return USAGE
    try:
        if outer := current_run():
            return contained(lambda: first_process(command, outer))
        with run_directory() as run:
            return contained(lambda: first_process(command, run))
    except KitError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
