"""A disk is given by its path, or by its instance and number."""

from pathlib import Path

import pytest

from backup.options import Origin
from kit.cli import parser
from kit.given_disk import GivenDisk, found
from node.errors import KitError
from tests.unit.kit.test_instance_disks import HERE, WEB, Node


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def refused(given: str, number: int | None) -> tuple[str, str]:
    with pytest.raises(KitError) as error:
        found(given, number)
    return error.value.message, error.value.hint


def test_of_an_instance_with_one_disk(node: Node) -> None:
    path = node.disk(0)
    for number in (None, 0):
        assert found("web", number) == GivenDisk(str(path), Origin(WEB, 0), by_name=True)


def test_of_an_instance_with_several(node: Node) -> None:
    first, path = node.disk(0), node.disk(1)
    node.is_master(f"{HERE}|ADMIN_down|2|-|swap\n")
    assert found(WEB, 1) == GivenDisk(str(path), Origin(WEB, 1, "swap"), by_name=True)
    listed = f"--disk N; its disks: 0: {first}, 1: {path}"
    assert refused(WEB, None) == (f"instance {WEB}: it has several disks", listed)
    assert refused(WEB, 2) == (f"instance {WEB}: it has no such disk", listed)


def test_of_a_running_instance(node: Node) -> None:
    node.disk(0)
    node.is_master(f"{HERE}|running|1|-\n")
    message, hint = refused(WEB, 0)
    assert "it is running" in message and hint.startswith(f"gnt-instance shutdown {WEB}")


def test_by_its_path(node: Node) -> None:
    """The instance is known as long as its disk is active."""
    path = str(node.disk(3))
    assert found(path, None) == GivenDisk(path, Origin(WEB, 3), by_name=False)
    node.cached(Path(path)).unlink()
    assert found(path, None) == GivenDisk(path, Origin(), by_name=False)


@pytest.mark.parametrize("path", ["/nowhere/disk", "./disk", "a/\0", ""])
def test_other_paths_are_checked_where_they_are_opened(node: Node, path: str) -> None:
    node.disk(0)
    assert found(path, None) == GivenDisk(path, Origin(), by_name=False)


def test_a_number_goes_with_an_instance() -> None:
    assert "goes with the name of an instance" in refused("/dev/vg/lv", 0)[1]


@pytest.mark.parametrize("number", ["-1", "x", "²", ""])
def test_what_is_no_number(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["export", "web", f"--disk={number}"])
    assert "not a number of a disk" in capsys.readouterr().err
