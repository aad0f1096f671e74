"""System tests act on the machine, and leave nothing behind: that is checked after each."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests import leaks
from tests.system.installer import stub_suite
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import Node

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if "/system/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="system tests need root"))


_MODULES: dict[Path, AbstractContextManager[None]] = {}


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Notes what is there before a module's first test."""
    if item.path.is_relative_to(HERE) and item.path not in _MODULES:
        # No fixture: pytest 7.2 may end one of the module before others that began after it.
        _MODULES[item.path] = leaks.none(item.config._tmp_path_factory.getbasetemp())
        _MODULES[item.path].__enter__()
    yield


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """What the tests of a module share goes with it."""
    yield
    if item.path in _MODULES and (nextitem is None or nextitem.path != item.path):
        _MODULES.pop(item.path).__exit__(None, None, None)


@pytest.fixture(autouse=True)
def _nothing_stays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No mount, loop device, process or temporary file outlives a test."""
    with leaks.none(tmp_path_factory.getbasetemp()):
        yield


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


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> StubSuite:
    """A suite of a few MiB, for creates whose guest's content does not matter."""
    return stub_suite.make(tmp_path_factory.mktemp("stub"))
