"""Finds what a test leaves behind: processes, mounts, loop devices, files in /tmp.

Only the namespaces and the directory of the test's own run are searched (tools/isolated.py), so
other runs and programs of the machine do not matter.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SETTLE_SECONDS = 5.0  # until killed processes are gone and their loop devices are detached
TMP = Path("/tmp")


@dataclass(frozen=True)
class Process:
    """A living process; its start time tells it from a later process with the same number."""

    pid: int
    started: str
    command: str


@dataclass(frozen=True)
class _State:
    processes: dict[int, Process]
    parents: dict[int, int]
    mounts: frozenset[str]
    loops: frozenset[str]
    temporary: frozenset[str]


@contextmanager
def none(disks: Path) -> Iterator[None]:
    """Asserts that the block leaves no new process, mount, loop device or file in /tmp.

    New children of older processes do not count, such as those of a Ganeti node that serves many
    tests.

    Args:
        disks: the directory with the run's disk files; only loop devices over these count.
    """
    before = _state(disks)
    yield
    deadline = time.monotonic() + SETTLE_SECONDS
    while found := _new(before, _state(disks)):
        assert time.monotonic() < deadline, f"left behind: {found}"
        time.sleep(0.05)


def _state(disks: Path) -> _State:
    processes, parents = {}, {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            status = (directory / "stat").read_text().rpartition(") ")[2].split()
            words = (directory / "cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it has ended
        if status[0] not in ("Z", "X"):
            pid = int(directory.name)
            processes[pid] = Process(pid, status[19], words.strip())
            parents[pid] = int(status[1])
    mounts = frozenset(Path("/proc/self/mountinfo").read_text().splitlines())
    temporary = frozenset(path.name for path in TMP.iterdir())
    return _State(processes, parents, mounts, _loops(disks), temporary)


def _loops(disks: Path) -> frozenset[str]:
    """The loop devices over files below the directory, and those over such loop devices."""
    backings = {}
    for state in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backings[f"/dev/{state.parts[3]}"] = state.read_text().strip()
        except OSError:
            continue  # it was detached
    ours: set[str] = set()
    while more := {
        device
        for device, backing in backings.items()
        if device not in ours and (backing.startswith(f"{disks}/") or backing in ours)
    }:
        ours |= more
    return frozenset(f"{device} over {backings[device]}" for device in ours)


def _new(before: _State, now: _State) -> dict[str, list[str]]:
    found = {
        "processes": [f"{each.pid}: {each.command}" for each in _new_processes(before, now)],
        "mounts": sorted(now.mounts - before.mounts),
        "loop devices": sorted(now.loops - before.loops),
        "in /tmp": sorted(now.temporary - before.temporary),
    }
    return {kind: names for kind, names in found.items() if names}


def _new_processes(before: _State, now: _State) -> list[Process]:
    ours = set(_line(os.getpid(), now.parents))
    found = []
    for pid, process in now.processes.items():
        if any(
            now.processes.get(each) == before.processes.get(each)
            for each in _line(pid, now.parents)
            if each not in ours and each in before.processes
        ):
            continue
        if pid not in ours:
            found.append(process)
    return found


def _line(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """A process, its parent, and so on."""
    while pid:
        yield pid
        pid = parents.get(pid, 0)
