"""The program, with a fake in place of the copy."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from converter.cli import main as tested
from converter.cli.main import main
from converter.errors import CopyFailed, CopyStopped, TargetState
from converter.extents import Kind
from converter.results import CopyPlan, CopyResult
from node.cleanup import Terminated
from node.devices.lvm import LogicalVolume
from node.errors import KitError
from tests.unit.converter.memory_source import MemorySource

PLAN = CopyPlan("a", "raw", Path("b"), 0, 0, dict.fromkeys(Kind, 0), ())
RESULT = CopyResult(PLAN, None, "ab", False, 0, {"check": 0.0})


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sources open, and copies succeed; gives the names of the sources."""
    opened = []

    @contextmanager
    def open_source(name: str, _format: str | None) -> Iterator[MemorySource]:
        opened.append(name)
        yield MemorySource(b"", [])

    monkeypatch.setattr(tested, "open_source", open_source)
    monkeypatch.setattr(tested.convert, "copy", lambda *_: RESULT)
    return opened


def test_the_source_of_a_new_volume_is_opened_once(
    copied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def created(*_: object, **_more: object) -> Iterator[LogicalVolume]:
        yield LogicalVolume("vg", "lv", "uuid", 0)

    monkeypatch.setattr(tested.lvm, "created", created)
    assert main(["-q", "--create", "vg/lv", "a"]) == 0
    assert copied == ["a"]


def test_a_source_that_is_missing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/nonexistent/image", "/nonexistent/target"]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: source /nonexistent/image: No such file or directory"
    assert hint.startswith("hint: ")


def test_names_stay_on_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/nonexistent/a\nerror: b\udcff\x1b[2J", "/nonexistent/target"]) == 3
    error, _hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: source /nonexistent/a\\nerror: b\\xff\\x1b[2J: No such")


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("copied")
def test_a_result_that_cannot_be_printed_is_a_failure_of_a_complete_copy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["-q", "--digest", "xxh3", "a", "b"]) == 4
    assert capsys.readouterr().err.splitlines() == [
        "error: write to stdout: No space left on device",
        "hint: b is complete all the same",
    ]


@pytest.mark.usefixtures("copied")
def test_a_signal_after_the_end_stops_a_complete_copy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_text: str) -> NoReturn:
        raise Terminated(15)

    monkeypatch.setattr(tested, "say", stopped)
    assert main(["-q", "--digest", "xxh3", "a", "b"]) == 143
    assert capsys.readouterr().err.splitlines()[-1] == "hint: b is complete all the same"


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize(
    ("error", "code", "kept", "hint"),
    [
        (KitError("a", "b"), 3, False, "b"),
        (CopyFailed(KitError("a", "b"), TargetState(resumable_at=5)), 4, False, "was removed"),
        (CopyFailed(KitError("a", "b"), TargetState(complete=True)), 4, True, "is complete"),
        (CopyStopped(15, TargetState(resumable_at=5)), 143, True, "--resume a /dev/vg/lv"),
        (Terminated(15), 143, False, "run it again"),
    ],
)
def test_a_new_volume_stays_where_it_is_worth_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    kept: bool,
    hint: str,
) -> None:
    found = []

    @contextmanager
    def created(_options: object, _source: object) -> Iterator[LogicalVolume]:
        try:
            yield LogicalVolume("vg", "lv", "uuid", 0)
        except BaseException as failure:
            found.append(tested._is_worth_keeping(failure))
            raise

    def copy(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(tested, "_new_volume", created)
    monkeypatch.setattr(tested.convert, "copy", copy)
    assert main(["-q", "--create", "vg/lv", "a"]) == code
    assert found == [kept]
    assert hint in capsys.readouterr().err.splitlines()[-1]


def test_a_full_stderr_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    assert main(["/nonexistent/image", "/nonexistent/target"]) == 3
