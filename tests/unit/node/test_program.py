"""How a command ends: its exit code and its last lines."""

import errno
import io
import os
import signal
import sys

import pytest

from node import log, program
from node.errors import KitError
from node.program import Failure, failure_of, run_command


def ended(error: BaseException, **options: object) -> int:
    def action() -> int:
        raise error

    return run_command(action, failed=3, debugging="--debug", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (KitError("disk 0: too small", "make it larger"), "disk 0: too small", "make it larger"),
        (MemoryError(), "memory: this process cannot get more", "ulimit -v"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files", "ulimit -n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate", "ulimit -v"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily"), "temporarily", "TasksMax"),
        (
            RuntimeError("can't start new thread"),
            "limits of this process: can't start",
            "ulimit -u",
        ),
        (OSError(errno.EIO, "I/O error", "/dev/sda"), "/dev/sda: I/O error", "dmesg"),
        (OSError(errno.EIO, "I/O error", b"/a\xff"), "/a\udcff: I/O error", "--debug shows"),
        (OSError(errno.EIO, "I/O error"), "a system call: I/O error", "dmesg"),
        (ValueError("odd"), "unexpected: ValueError: odd", "this is a bug"),
    ],
)
def test_what_errors_say(error: Exception, message: str, hint: str) -> None:
    failure = failure_of(error, 3, "--debug")
    assert message in failure.message and hint in failure.hint
    assert failure.code == 3 and not failure.stopped


def test_a_command_that_succeeds_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: 1, failed=3, debugging="--debug") == 1
    assert capsys.readouterr() == ("", "")


def test_the_last_lines_come_last_and_cannot_steer_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended(KitError("b\udcff\x1b[2J\nerror: c", "look")) == 3
    assert capsys.readouterr().err == "error: b\\xff\\x1b[2J\\nerror: c\nhint: look\n"
    assert ended(KitError("a", "b"), clean=str.upper) == 3
    assert capsys.readouterr().err == "error: A\nhint: B\n"


def test_a_signal_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    seen: list[Failure] = []

    def explain(_error: BaseException, failure: Failure) -> Failure:
        seen.append(failure)
        return failure._replace(hint="go on")

    assert run_command(action, failed=3, debugging="--debug", explain=explain) == 143
    assert seen == [Failure("stopped by SIGTERM", "run it again", 143, stopped=True)]
    assert capsys.readouterr().err == "error: stopped by SIGTERM\nhint: go on\n"


def test_a_signal_does_not_cut_the_last_lines_off(capsys: pytest.CaptureFixture[str]) -> None:
    def explain(_error: BaseException, failure: Failure) -> Failure:
        signal.raise_signal(signal.SIGINT)
        return failure

    assert ended(KitError("a", "b"), explain=explain) == 130
    assert capsys.readouterr().err == "error: a\nhint: b\n"


def test_tracebacks_are_for_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_stream(stderr=True)
    assert ended(ValueError("odd")) == 3
    assert "Traceback" not in capsys.readouterr().err
    log.to_stream(stderr=True, debug=True)
    assert ended(ValueError("odd")) == 3
    said = capsys.readouterr().err
    assert "Traceback" in said and "in action" in said
    assert said.splitlines()[-2] == "error: unexpected: ValueError: odd"


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_stderr_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    assert ended(KitError("a", "b")) == 3


def test_a_result_that_cannot_be_printed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(KitError, match="write to stdout: No space left on device"):
        program.say("a digest")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_questions_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    monkeypatch.setattr(sys, "stderr", shown)
    assert program.confirmed("/dev/\x1b[2Jx holds ext4, label \u202ea. Overwrite it?")
    assert shown.getvalue() == "/dev/\\x1b[2Jx holds ext4, label \\u202ea. Overwrite it? [y/N] "


@pytest.mark.parametrize("typed", ["", "\n", "n\n", "yy\n"])
def test_other_answers_mean_no(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert not program.confirmed("Overwrite it?")


def test_nobody_is_asked_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert not program.confirmed("Overwrite it?")
    assert capsys.readouterr().err == ""
