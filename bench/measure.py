"""Measures one create: time, CPU, and the peak memory of our process."""

import os
import resource
import subprocess
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from contenders import Contender, environment

from node.devices.claim import claimed
from node.devices.loop import attached

DISK_SIZE = 4 * 1024**3  # bytes, sparse
POLL_SECONDS = 0.1


class BenchError(Exception):
    """A program failed, so that there is nothing to compare."""


@dataclass(frozen=True)
class Measured:
    """The figures of one create.

    Attributes:
        seconds: wall time.
        cpu_seconds: of all its processes.
        sync_seconds: of the sync(2) after it.
        memory: peak memory of a Python process, KiB.
    """

    seconds: float
    cpu_seconds: float
    sync_seconds: float
    memory: int


def measured(contender: Contender, directory: Path) -> Measured:
    """Runs `./create` on a fresh disk.

    Raises:
        BenchError: it failed; the message has the end of its log.
    """
    disk = directory / "disk.raw"
    disk.unlink(missing_ok=True)
    with disk.open("wb") as file:
        file.truncate(DISK_SIZE)
    log = contender.private / "create.log"
    with ExitStack() as stack, log.open("wb") as output:
        place = disk
        if contender.wants_block:
            place = stack.enter_context(attached(stack.enter_context(claimed(disk))))
        os.sync()
        cpu_before = _cpu_seconds()
        started = time.monotonic()
        process = subprocess.Popen(
            contender.argv("./create"),
            env=environment(place),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        peak = Peak(process.pid)
        peak.start()
        try:
            code = process.wait()
            seconds = time.monotonic() - started
            cpu_seconds = _cpu_seconds() - cpu_before
        finally:
            peak.finished.set()
            peak.join()
            if process.poll() is None:
                process.terminate()
                process.wait()
        started = time.monotonic()
        os.sync()
        sync_seconds = time.monotonic() - started
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise BenchError(f"{contender.name}: create ended with {code}:\n{tail}")
    disk.unlink()
    return Measured(seconds, cpu_seconds, sync_seconds, peak.kib)


def _cpu_seconds() -> float:
    """User and system time of all descendants that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Peak(threading.Thread):
    """Measures the peak memory of a create in Python: of its first process and its only child.

    Other descendants do not count: before execve(2), they share the memory of that child.
    """

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.finished = threading.Event()
        self.kib = 0
        self._pid = pid
        self._child = 0

    def run(self) -> None:
        while not self.finished.wait(POLL_SECONDS):
            self._child = self._child or _child_of(self._pid)
            for pid in (self._pid, self._child):
                self.kib = max(self.kib, _python_peak(pid) if pid else 0)


def _child_of(parent: int) -> int:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # proc_pid_stat(5): after the name in parentheses come the state and the parent.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            return int(stat.parent.name)
    return 0


def _python_peak(pid: int) -> int:
    """VmHWM of proc_pid_status(5) in KiB; 0 if the process is gone or no Python program."""
    process = Path("/proc", str(pid))
    try:
        if not (process / "exe").readlink().name.startswith("python"):
            return 0
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
