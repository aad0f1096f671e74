import os
import signal

import pytest

from node.cleanup import Terminated, signals_deferred, signals_raise, undone
from node.errors import KitError


def fail(message: str) -> None:
    raise KitError(message)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_raises_and_the_next_is_ignored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    caught = []
    with signals_raise():
        try:
            os.kill(os.getpid(), number)
        except Terminated as terminated:
            caught.append(terminated.number)
            os.kill(os.getpid(), signal.SIGTERM)
    assert caught == [number]
    assert signal.getsignal(number) == before


def test_a_deferred_signal_raises_at_the_end() -> None:
    reached = []
    with pytest.raises(Terminated), signals_raise(), signals_deferred():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("the end")
    assert reached == ["the end"]


def test_undo_runs_at_the_end_and_its_failure_counts() -> None:
    with pytest.raises(KitError, match="undo"), undone(lambda: fail("undo")):
        pass


def test_a_failed_undo_does_not_mask_the_first_error() -> None:
    with pytest.raises(KitError, match="first"), undone(lambda: fail("undo")):
        fail("first")
