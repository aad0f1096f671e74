import argparse
import errno
import io
import os
import sys

import pytest

from converter.cli import main as cli
from converter.options import CopyOutcome
from node.errors import KitError
from node.program import Failure


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("20G", 20 << 30), ("5MiB", 5 << 20), ("1t", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert cli._size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1.5G", "²", "1Q", "0x10"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        cli._size(text)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["a"], "SRC and DST are needed"),
        (["a", "b", "c"], "SRC and DST are needed"),
        (["--create", "vg/lv", "a", "b"], "--create takes SRC only"),
        (["--create", "lv", "a"], "VG/LV is needed"),
        (["--size", "1G", "a", "b"], "go with --create"),
        (["--thin-pool", "p", "a", "b"], "go with --create"),
        (["--json", "a", "b"], "--json goes with"),
        (["--create", "vg/lv", "--resume", "a"], "name it as DST"),
        (["--create", "vg/lv", "--size", "x", "a"], "not a size"),
        (["--check", "--info", "a"], "not allowed with"),
        (["--digest", "md5", "a", "b"], "invalid choice"),
        (["--forc", "a", "b"], "unrecognized arguments"),
        ([], "SRC"),
        *(
            (["--progress", how, "a", "b"], "--progress")
            for how in ("json:x", "fancy", "", "bar:3")
        ),
        (["--progress", f"json:{1 << 70}", "a", "b"], "--progress"),
        (["--check", "--digest", "sha256", "a", "b"], "--digest goes with a copy"),
        (["--swap-only", "--resume", "a", "b"], "--resume goes with a copy"),
        (["--info", "--verify", "a"], "--verify goes with a copy"),
    ],
)
def test_misuse_ends_with_2_and_both_lines(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and complaint in error
    assert hint.startswith("hint: ")


def test_a_source_that_is_missing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["/nonexistent/image", "/nonexistent/target"]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: source /nonexistent/image: No such file or directory"
    assert hint.startswith("hint: ")


STOPPED = Failure("stopped by SIGTERM", "run it again", 143, stopped=True)


def failed(hint: str) -> Failure:
    return Failure("it failed", hint, cli.REFUSED)


def parsed(*argv: str) -> argparse.Namespace:
    return cli.parser().parse_args(argv)


def test_what_was_touched_can_be_resumed() -> None:
    outcome = CopyOutcome(touched=True, resumable=1 << 30)
    assert cli._way_out(failed("free space"), parsed("a", "b"), outcome) == (
        "free space; 1 GiB of the target are done; go on with the same command and --resume"
    )


def test_what_was_stopped_says_only_how_to_go_on() -> None:
    outcome = CopyOutcome(touched=True, resumable=0)
    assert cli._way_out(STOPPED, parsed("a", "b"), outcome) == (
        "0 B of the target are done; go on with the same command and --resume"
    )


def test_a_volume_that_was_made_is_kept_after_a_signal_only() -> None:
    outcome, options = CopyOutcome(touched=True, resumable=0), parsed("--create", "vg/lv", "a")
    assert "qcow2raw --resume a /dev/vg/lv" in cli._way_out(STOPPED, options, outcome)
    assert cli._way_out(failed("check dmesg"), options, outcome) == "check dmesg; vg/lv was removed"
    options = parsed("--create", "/dev/vg/lv", "a")
    assert "qcow2raw --resume a /dev/vg/lv" in cli._way_out(STOPPED, options, outcome)


def test_the_summary_counts_what_was_copied() -> None:
    report = {
        "target": "/dev/vg/lv",
        "extents": {"data": 3 << 30, "compressed": 1 << 30, "zero": 5 << 30, "literal": 0},
        "zeroing": {"strategy": "punch"},
        "seconds": {"copy": 3.0, "flush": 1.0},
        "verified": True,
    }
    assert cli.summary(report, "copied") == (
        "/dev/vg/lv: 4 GiB of data copied in 0:04, 1 GiB/s; 5 GiB of zeros (punch);"
        " read back and verified"
    )


def test_where_nothing_can_be_gone_on_with_the_target_is_incomplete() -> None:
    hint = cli._way_out(failed("check dmesg"), parsed("a", "b"), CopyOutcome(touched=True))
    assert hint == "check dmesg; the target is incomplete"


def test_names_stay_on_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["/nonexistent/a\nerror: b\udcff\x1b[2J", "/nonexistent/target"]) == 3
    error, _hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: source /nonexistent/a\\nerror: b\\xff\\x1b[2J: No such")


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_result_that_cannot_be_printed_is_a_failure_of_a_complete_copy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def copied(_options: object, _progress: object, outcome: CopyOutcome) -> dict[str, object]:
        outcome.touched = outcome.complete = True
        return {"digest": "ab", "target": "b", "extents": {"data": 0, "compressed": 0, "zero": 0}}

    monkeypatch.setattr(cli.convert, "copy", copied)
    monkeypatch.setattr(sys, "stdout", Full())
    assert cli.main(["-q", "--digest", "xxh3", "a", "b"]) == 4
    assert capsys.readouterr().err.splitlines() == [
        "error: write to stdout: No space left on device",
        "hint: b is complete all the same",
    ]


def test_a_made_volume_is_complete_not_its_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(_options: object, _progress: object, outcome: CopyOutcome) -> int:
        outcome.touched = outcome.complete = True
        raise KitError("write to stdout: Broken pipe", hint="what reads it has ended")

    monkeypatch.setattr(cli, "_act", act)
    assert cli.main(["-q", "--create", "vg/lv", "a.qcow2"]) == 4
    assert capsys.readouterr().err.splitlines()[-1] == "hint: /dev/vg/lv is complete all the same"


def test_a_full_stderr_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    assert cli.main(["/nonexistent/image", "/nonexistent/target"]) == 3


def test_the_summary_of_an_update_names_no_way_of_zeroing() -> None:
    extents = {"data": 1 << 30, "compressed": 0, "zero": 1 << 30, "literal": 0}
    report = {"target": "/dev/vg/lv", "extents": extents, "zeroing": None}
    assert cli.summary(report, "copied") == ("/dev/vg/lv: 1 GiB of data copied; 1 GiB of zeros")


def test_a_hint_that_says_run_it_again_is_not_taken_for_a_signal() -> None:
    outcome = CopyOutcome(touched=True, resumable=1 << 30)
    assert cli._way_out(failed("run it again"), parsed("a", "b"), outcome) == (
        "run it again; 1 GiB of the target are done; go on with the same command and --resume"
    )


def test_a_command_to_go_on_with_can_be_pasted() -> None:
    outcome, options = (
        CopyOutcome(touched=True, resumable=0),
        parsed("--create", "vg/lv", "a b.qcow2"),
    )
    assert cli._way_out(STOPPED, options, outcome) == (
        "go on with: qcow2raw --resume 'a b.qcow2' /dev/vg/lv"
    )


def test_questions_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert cli._confirmed("/dev/\x1b[2Jx holds ext4, label \u202ea. Overwrite it?")
    assert capsys.readouterr().err == (
        "/dev/\\x1b[2Jx holds ext4, label \\u202ea. Overwrite it? [y/N] "
    )
