"""System tests act on the machine, and leave nothing behind: that is checked after each."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.create_support import Node


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0 and "CI" not in os.environ:
        for item in items:
            if "/system/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="system tests need root"))


def _state(disks: str) -> dict[str, set[str]]:
    loops = set()
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if disks in (text := backing.read_text().strip()):
                loops.add(f"{backing.parts[3]}: {text}")
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
def _nothing_stays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No mount, loop device, process or temporary directory outlives a test."""
    disks = str(tmp_path_factory.getbasetemp())  # other programs of this machine have loops, too
    before = _state(disks)
    yield
    after = _state(disks)
    left = {kind: sorted(after[kind] - before[kind]) for kind in after}
    assert not any(left.values()), f"left behind: {left}"


@pytest.fixture(scope="module")
def new_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Node]]:
    """Makes nodes whose disks are gone when the module's tests are over: they take gigabytes."""
    made: list[Path] = []

    def make() -> Node:
        made.append(tmp_path_factory.mktemp("node"))
        return Node(made[-1])

    yield make
    for directory in made:
        shutil.rmtree(directory)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node for one test."""
    yield Node(tmp_path / "node")
    shutil.rmtree(tmp_path / "node")
