import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from node.cleanup import (
    SIGNALS,
    Terminated,
    heeded,
    signal_waits,
    signals_blocked,
    signals_deferred,
    signals_raise,
    time_limit,
    undone,
)
from node.errors import KitError


def fail(message: str) -> None:
    raise KitError(message, "what to do")


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


@contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    """As nohup(1) has it for SIGHUP, and shells have it for SIGINT of what is in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_was_ignored_stays_so(number: signal.Signals) -> None:
    with ignored(number):
        with signals_raise():
            os.kill(os.getpid(), number)
            assert signal.getsignal(number) is signal.SIG_IGN
            assert number not in heeded() and len(heeded()) == len(SIGNALS) - 1
        assert signal.getsignal(number) is signal.SIG_IGN


def burst() -> None:
    """Sends all of SIGNALS at one moment."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def test_a_burst_of_signals_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with signals_raise():
        with pytest.raises(Terminated):
            burst()
        burst()
    assert complaints == []


def test_after_the_first_signal_none_is_raised_in_what_is_said_at_the_end() -> None:
    with signals_raise():
        with pytest.raises(Terminated), signals_raise():
            burst()
        burst()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= set(SIGNALS)
    with pytest.raises(Terminated), signals_raise():
        burst()


def test_a_signal_that_another_thread_gets_waits_as_well() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)  # made where signals are not blocked
    thread.start()
    reached: list[str] = []

    def start() -> None:
        with signals_blocked():
            os.kill(os.getpid(), signal.SIGTERM)
            deadline = time.monotonic() + 0.2
            while time.monotonic() < deadline:  # Python looks for signals between its steps
                pass
            reached.append("the end of what must not be left half done")

    try:
        with pytest.raises(Terminated), signals_raise():
            start()
    finally:
        over.set()
        thread.join()
    assert reached


LATE = KitError("too late", "allow more")


@pytest.mark.usefixtures("_no_timer")
def test_what_takes_too_long_ends_with_the_error() -> None:
    began = time.monotonic()
    with pytest.raises(KitError, match="too late"), signals_raise(), time_limit(0.1, LATE):
        time.sleep(30)
    assert 0.1 <= time.monotonic() - began < 10
    with time_limit(0.1, LATE):
        pass
    time.sleep(0.2)  # the time is not up any more
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


@pytest.mark.usefixtures("_no_timer")
def test_threads_see_that_the_time_is_over() -> None:
    seen: list[bool] = []

    def wait() -> None:
        deadline = time.monotonic() + 30
        while not signal_waits() and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append(signal_waits())

    def work() -> None:
        with time_limit(0.1, LATE), signals_deferred():
            with signals_blocked():
                thread = threading.Thread(target=wait)
                thread.start()
            thread.join()

    with pytest.raises(KitError, match="too late"):
        work()
    assert seen == [True]
    assert not signal_waits()


@pytest.mark.usefixtures("_no_timer")
def test_without_a_limit_there_is_no_timer() -> None:
    with time_limit(None, LATE):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.usefixtures("_no_timer")
def test_a_signal_comes_before_the_end_of_the_time() -> None:
    with signals_raise(), time_limit(0.1, LATE):
        with pytest.raises(Terminated) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)  # for cleanup, which the timer must not interrupt
    assert caught.value.number == signal.SIGTERM
