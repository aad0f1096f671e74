"""The cluster that all end-to-end tests share, and another one for those that need two."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import bootstraps, leaks
from tests.system.installer.support import output

from . import kept
from .cluster import Cluster
from .running import STARTED, running
from .sandbox import missing_capability

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "e2e: in a real Ganeti, with guests that boot")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Keeps the consoles and logs of a failed test; the report says where."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and item.path.is_relative_to(HERE):
        where = kept.keep(item.nodeid, STARTED)
        report.sections.append(("consoles and Ganeti's logs", f"kept in {where}"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints the result of the tests on other nodes (test_trixie.py)."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "closing line":
                terminalreporter.write_line(str(text))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster with the kit and the administrator's SSH key."""
    why = missing_capability()
    if why:
        pytest.skip(why)
    with running(Cluster(bootstraps.directory())) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def second_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """Another cluster, whose network is joined to the first one's."""
    with running(Cluster(bootstraps.directory(), 2)) as second:
        join = ["ip", "link", "add", "join", "netns", str(cluster.pid), "type", "veth"]
        output(*join, "peer", "name", "join", "netns", str(second.pid))
        for each in (cluster, second):
            each.run(["ip", "link", "set", "join", "up", "master", "gnt0"])
        yield second


@pytest.fixture(autouse=True, scope="module")
def _nothing_stays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Checks for leaks on the machine. What runs on the cluster's node ends with the node."""
    with leaks.none(tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture(scope="module")
def instance_name(cluster: Cluster) -> Iterator[Callable[[str], str]]:
    """A function that reserves an instance name; its instance is removed after the module."""
    names: list[str] = []

    def reserve(name: str) -> str:
        names.append(name)
        return name

    yield reserve
    existing = cluster.run(["gnt-instance", "list", "--no-headers", "--output=name"]).stdout.split()
    for name in names:
        if name in existing:
            cluster.remove(name)
