"""The target's state that a failed copy reports."""

import pytest

from converter.errors import (
    CopyFailed,
    CopyStopped,
    TargetFailed,
    TargetState,
    telling_what_is_left,
)
from node.cleanup import Terminated

HALF = TargetState(resumable_at=4096)
ERROR = TargetFailed("write to a at byte 5: No space left on device", hint="df")


def raised(error: BaseException, left: TargetState | None) -> BaseException:
    with pytest.raises(BaseException) as caught, telling_what_is_left(lambda: left):  # noqa: PT011
        raise error
    return caught.value


@pytest.mark.parametrize("error", [ERROR, OSError("odd"), Terminated(15)])
def test_what_was_not_touched_is_no_failed_copy(error: BaseException) -> None:
    assert raised(error, None) is error


def test_the_cause_says_why() -> None:
    failed = raised(ERROR, HALF)
    assert isinstance(failed, CopyFailed)
    assert (failed.cause, failed.left) == (ERROR, HALF)
    assert (failed.message, failed.hint) == (ERROR.message, "df")


def test_other_errors_have_words_and_a_hint_as_well() -> None:
    failed = raised(MemoryError("no more"), HALF)
    assert isinstance(failed, CopyFailed)
    assert failed.message == "MemoryError: no more" and failed.hint


def test_a_signal_stays_a_signal() -> None:
    stopped = raised(Terminated(15), HALF)
    assert isinstance(stopped, CopyStopped)
    assert (stopped.number, str(stopped), stopped.left) == (15, "SIGTERM", HALF)


@pytest.mark.parametrize("error", [CopyFailed(ERROR, HALF), CopyStopped(15, HALF)])
def test_who_knew_first_is_right(error: BaseException) -> None:
    assert raised(error, TargetState(complete=True)) is error


def test_what_no_program_handles_passes() -> None:
    error = SystemExit(1)
    assert raised(error, HALF) is error
