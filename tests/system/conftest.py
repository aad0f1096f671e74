"""System tests act on the machine, and leave nothing behind: that is checked after each."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0 and "CI" not in os.environ:
        for item in items:
            if "/system/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="system tests need root"))


def _state() -> dict[str, set[str]]:
    loops = set()
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            loops.add(f"{backing.parts[3]}: {backing.read_text().strip()}")
        except OSError:
            continue
    mounts = set(Path("/proc/self/mountinfo").read_text().splitlines())
    processes = set()
    for comm in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = comm.read_text()
        except OSError:
            continue
        if "ganeti-instance" in text or "os-definition" in text:
            processes.add(f"{comm.parts[2]}: {text}")
    trees = {str(path) for path in Path("/tmp").glob("ganeti-instance-*")}
    return {"loops": loops, "mounts": mounts, "processes": processes, "temporary": trees}


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """No mount, loop device, process or temporary directory outlives a test."""
    before = _state()
    yield
    after = _state()
    left = {kind: sorted(after[kind] - before[kind]) for kind in after}
    assert not any(left.values()), f"left behind: {left}"
