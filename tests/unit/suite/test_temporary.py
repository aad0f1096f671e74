"""The files of each test that acts on the machine are removed when it is over."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import conftest


def _end(path: Path) -> None:
    """The end of a test with this directory."""
    for _ in conftest.pytest_runtest_teardown(SimpleNamespace(funcargs={"tmp_path": path})):
        pass


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "of a test/deep").mkdir(parents=True)
    return tmp_path / "of a test"


def test_they_are_removed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "current_run", lambda: directory.parent)
    _end(directory)
    assert not directory.exists()


def test_of_other_tests_they_stay(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "current_run", lambda: None)
    _end(directory)
    assert directory.exists()


def test_a_mount_that_was_left_behind_keeps_them(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "current_run", lambda: directory.parent)
    monkeypatch.setattr(conftest, "MOUNTS", directory.parent / "mountinfo")
    mount = f"36 35 98:0 / {directory}/deep rw - ext4 /dev/loop0 rw\n"
    (directory.parent / "mountinfo").write_text(mount)
    _end(directory)
    assert directory.exists()
