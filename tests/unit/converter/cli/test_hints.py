"""What qcow2raw says of each error, and with which exit code."""

import argparse
import errno
import inspect
import re
from pathlib import Path

import pytest

from converter import errors
from converter.cli.hints import DEBUGGING, HINTS, REFUSED, explained
from converter.cli.options import parser
from converter.errors import CopyFailed, CopyStopped, TargetState
from node.cleanup import Terminated
from node.errors import KitError
from node.program import Failure, failure_of

PLAIN = KitError("it failed", "free space")
UNTIL_1_GIB = TargetState(resumable_at=1 << 30)
GO_ON = "1 GiB of the target are done; go on with the same command and --resume"

# One of each kind, as the code raises it.
ERRORS = (
    errors.TargetMissing(Path("/dev/vg/lv")),
    errors.TargetIsFile("disk"),
    errors.TargetTooSmall(Path("/dev/vg/lv"), "/dev/vg/lv", 1 << 20, 3 << 20),
    errors.TargetInUse("target a: in use: mounted on /srv", "unmount it"),
    errors.TargetIsSource("a", "it is the source itself"),
    errors.TargetNotEmpty("a", "ext4"),
    errors.TargetFailed("write to a at byte 5: No space left on device", "df"),
    errors.TargetLost("a", "it was cut"),
    errors.VerificationFailed(Path("/dev/vg/lv"), "in the GiB from byte 0 on"),
    errors.SourceInUse("source a: in use", "stop what writes to it"),
    errors.SourceChanged("source a: it changed while it was copied", "copy again"),
    errors.SourceLost("read of a at byte 5: the connection was lost"),
    errors.ContextMissing("a", "qemu:dirty-bitmap:b"),
    errors.FormatMismatch("a", "it is vmdk", fits="vmdk", is_default=False, is_certain=True),
    errors.FormatUnknown("a", "img", ("qcow2", "raw")),
    errors.FormatConflict("a", "format vdi contradicts it", "leave one of them out"),
    errors.ImageRefused("source a: it is encrypted", "decrypt it first"),
    errors.HibernatedSwap("a", 0, "S1SUSPEND"),
    errors.SwapNotMade("mkswap for the swap area at byte 0: it made another header"),
    errors.NotOneSwapArea("a", 0),
    errors.ResumeMismatch(Path("/dev/vg/lv"), "the source has changed"),
    errors.BaseIncomplete(Path("/dev/vg/lv")),
    errors.NotInspectable("nbd://host/disk"),
)
# Those whose hint names an option of ours.
OPTIONS = {
    errors.TargetMissing: ("--create", "--force-file"),
    errors.TargetIsFile: ("--force-file",),
    errors.TargetNotEmpty: ("--force",),
    errors.FormatMismatch: ("--format vmdk",),
    errors.HibernatedSwap: ("--swap copy",),
    errors.SwapNotMade: ("--swap copy",),
    errors.NotOneSwapArea: ("--info",),
    errors.ResumeMismatch: ("--force", "--resume"),
    errors.NotInspectable: ("--format raw",),
}


def parsed(*argv: str) -> argparse.Namespace:
    return parser().parse_args(argv)


COPY = parsed("a", "b")
CREATE = parsed("--create", "vg/lv", "a")


def said(error: BaseException, options: argparse.Namespace) -> tuple[str, str, int]:
    """The last lines of a run that an error ends, and its exit code."""
    if isinstance(error, Terminated):
        code = 128 + error.number
        failure = Failure(f"stopped by {error}", "run it again", code, stopped=True)
    else:
        assert isinstance(error, Exception)
        failure = failure_of(error, REFUSED, DEBUGGING)
    return explained(error, failure, options)[:3]


def kinds() -> set[type]:
    return {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, KitError) and kind not in (KitError, CopyFailed)
    }


def test_every_kind_of_error_is_tried_here() -> None:
    assert {type(error) for error in ERRORS} == kinds()
    assert set(HINTS) == set(OPTIONS)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_has_a_hint_for_the_command_line(error: KitError) -> None:
    words, hint, code = said(error, COPY)
    assert (words, code) == (error.message, 3)
    assert hint
    for option in OPTIONS.get(type(error), ()):
        assert option in hint and option not in error.hint
    ours = set(parser()._option_string_actions)
    assert not ours & set(re.findall(r"--[a-z-]+", error.hint)) - {"--size"}  # of lvextend
    failed = said(CopyFailed(error, UNTIL_1_GIB), COPY)
    assert failed == (error.message, f"{hint}; {GO_ON}", 4)


def test_a_format_that_is_taken_by_default() -> None:
    error = errors.FormatMismatch(
        "a", "by its magic it is", fits="qcow2", is_default=True, is_certain=True
    )
    assert said(error, COPY)[1] == "leave --format out, if that is its format"
    error = errors.FormatMismatch("a", "not qcow2", fits="raw", is_default=False, is_certain=False)
    assert said(error, COPY)[1] == "if it is a raw disk, use --format raw"


def test_the_journal_of_another_target_is_named() -> None:
    error = errors.ResumeMismatch(Path("b"), "another", journal=Path("/var/lib/x.json"))
    hint = said(error, COPY)[1]
    assert "leave --resume out" in hint and "remove /var/lib/x.json" in hint
    assert "--force" not in hint  # nobody knows yet whether what this one holds can go
    assert "remove /var/lib/x.json" in error.hint


def test_a_target_that_may_be_another_is_looked_at_first() -> None:
    error = errors.ResumeMismatch(Path("b"), "it has no birth time", is_certain=False)
    assert said(error, COPY)[1] == (
        "copy from the beginning: leave --resume out; if what the target holds can go: --force"
    )


def test_what_was_stopped_says_only_how_to_go_on() -> None:
    stopped = CopyStopped(15, TargetState(resumable_at=0))
    assert said(stopped, COPY) == (
        "stopped by SIGTERM",
        "0 B of the target are done; go on with the same command and --resume",
        143,
    )


def test_what_was_stopped_before_its_first_byte() -> None:
    assert said(Terminated(2), COPY) == ("stopped by SIGINT", "run it again", 130)


def test_a_target_that_cannot_go_on_is_incomplete() -> None:
    assert said(CopyFailed(PLAIN, TargetState()), COPY)[1] == (
        "free space; the target is incomplete"
    )


def test_a_volume_that_was_made_is_kept_after_a_signal_only() -> None:
    go_on = "go on with: qcow2raw --resume a /dev/vg/lv"
    assert said(CopyStopped(15, UNTIL_1_GIB), CREATE)[1] == go_on
    assert said(CopyFailed(PLAIN, UNTIL_1_GIB), CREATE)[1] == "free space; vg/lv was removed"
    named_whole = parsed("--create", "/dev/vg/lv", "a")
    assert said(CopyStopped(15, UNTIL_1_GIB), named_whole)[1] == go_on


def test_a_command_to_go_on_with_can_be_pasted() -> None:
    options = parsed("--create", "vg/lv", "a b.qcow2")
    assert said(CopyStopped(15, UNTIL_1_GIB), options)[1] == (
        "go on with: qcow2raw --resume 'a b.qcow2' /dev/vg/lv"
    )


@pytest.mark.parametrize(("options", "name"), [(COPY, "b"), (CREATE, "/dev/vg/lv")])
def test_what_fails_after_the_end_leaves_a_complete_target(
    options: argparse.Namespace, name: str
) -> None:
    complete = TargetState(complete=True)
    error = KitError("write to stdout: Broken pipe", hint="what reads it has ended")
    assert said(CopyFailed(error, complete), options) == (
        "write to stdout: Broken pipe",
        f"{name} is complete all the same",
        4,
    )
    assert said(CopyStopped(15, complete), options)[1:] == (
        f"{name} is complete all the same",
        143,
    )


def test_other_errors_are_explained_as_those_of_every_command() -> None:
    error = OSError(errno.EMFILE, "Too many open files")
    message, hint, code = said(error, COPY)
    assert "Too many open files" in message and "ulimit -n" in hint and code == 3
    touched = said(CopyFailed(error, UNTIL_1_GIB), COPY)
    assert touched == (message, f"{hint}; {GO_ON}", 4)


def test_a_hint_that_says_run_it_again_is_not_taken_for_a_signal() -> None:
    error = CopyFailed(KitError("it failed", "run it again"), UNTIL_1_GIB)
    assert said(error, COPY)[1] == f"run it again; {GO_ON}"
