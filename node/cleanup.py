"""Signals become one exception, so that what was set up is always taken down again."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from node.errors import KitError
from node.log import log

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Terminated(BaseException):
    """We were told to stop. Not an Exception: nothing but the end of the program may catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class _Deferral:
    """Whether a signal has to wait, and the one that does."""

    active: bool = False
    number: int | None = None


_deferral = _Deferral()


@dataclass
class _Watch:
    """How many `signals_raise` we stand in, and whether a signal has come in any."""

    depth: int = 0
    stopping: bool = False


_watch = _Watch()


def heeded() -> list[signal.Signals]:
    """Those of SIGNALS that end us.

    What is ignored when a program begins stays so: nohup(1) ignores SIGHUP, and a shell without
    job control SIGINT for what it runs in the background.
    """
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def signals_deferred() -> Iterator[Callable[[], bool]]:
    """Inside, a signal waits until the end: for what must not be left half done.

    What it gives tells whether one does, so that what takes long can end early.
    """
    within, _deferral.active = _deferral.active, True
    try:
        yield signal_waits
    finally:
        _deferral.active = within
        if not within:
            number, _deferral.number = _deferral.number, None
            if number is not None:
                raise Terminated(number)


def signal_waits() -> bool:
    """Whether a signal waits for the end of `signals_deferred`; asked by any thread."""
    return _deferral.number is not None


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Inside, the kernel keeps SIGNALS back (sigprocmask(2)).

    Threads inherit that. All but the main one must be made inside: Python handles signals in the
    main thread only, which a system call that waits would never leave for a signal that the kernel
    handed to another thread, as it does where all of them were stopped (SIGSTOP).

    Another thread that was made elsewhere may get a signal all the same: that waits, too.
    """
    with signals_deferred():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Inside, the first SIGTERM, SIGINT or SIGHUP raises Terminated; later ones do nothing.

    They do nothing because the first one's unwinding must reach its end: unmounting is bounded
    in time, and SIGKILL is left for whoever cannot wait. A handler that returns does that: after
    SIG_IGN, Python would complain of those that came at the same moment ("Signal 15 ignored due to
    race condition"). What was ignored before stays ignored.

    After a signal they stay blocked: the process is about to end, and when Python does so, they
    would have their default action.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        if _watch.stopping:
            return
        _watch.stopping = True
        if _deferral.active:
            _deferral.number = number
        else:
            raise Terminated(number)

    before = {number: signal.signal(number, handle) for number in heeded()}
    _watch.depth += 1
    try:
        # Blocked, they would never come, neither here nor in any program that we start.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield
    finally:
        if _watch.stopping:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number, handler in before.items():
            signal.signal(number, handler)
        _watch.depth -= 1
        if not _watch.depth:
            _watch.stopping = False


@contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Undoes something at the end.

    Where that fails after another error, it is only logged: the first error is the one to mend.

    Raises:
        KitError: what `undo` raised, and nothing had failed before.
    """
    try:
        yield
    except BaseException:
        try:
            undo()
        except KitError as error:
            log.warning("%s", error.message)
        except OSError as error:
            log.warning("%s", error)
        raise
    undo()
