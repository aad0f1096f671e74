"""Turns signals into one exception, so that cleanup always runs."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from node.errors import KitError
from node.log import log

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BLOCKED = (*SIGNALS, signal.SIGALRM)  # by `signals_blocked`; SIGALRM is that of `time_limit`


class Terminated(BaseException):
    """A signal asked us to stop. No Exception: only the end of the program may catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class _Deferral:
    """Whether signals have to wait, and the number of one that waits."""

    active: bool = False
    number: int | None = None


_deferral = _Deferral()


@dataclass
class _Watch:
    """How many `signals_raise` blocks are active, and whether a signal came in one of them."""

    depth: int = 0
    stopping: bool = False


_watch = _Watch()


def heeded() -> list[signal.Signals]:
    """Those of SIGNALS that are not ignored.

    A signal that is ignored when a program starts stays ignored. nohup(1) ignores SIGHUP; a shell
    without job control ignores SIGINT for its background programs.
    """
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def signals_deferred() -> Iterator[Callable[[], bool]]:
    """Delays signals until the end of the block, for work that must not be left half done.

    Yields:
        A function that tells whether a signal waits, so that long work can end early.
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
    """Whether a signal waits for the end of `signals_deferred`; any thread may ask."""
    return _deferral.number is not None


def raise_waiting() -> None:
    """Raises Terminated if a signal waits, for work that an outer `signals_deferred` must not hold.

    Any thread may call it. The block raises it again at its end.
    """
    if _deferral.number is not None:
        raise Terminated(_deferral.number)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Blocks BLOCKED in the calling thread (sigprocmask(2)); they come at the end of the block.

    Start every thread inside such a block, since threads inherit the mask. Python handles signals
    in the main thread only. If the kernel gave a signal to another thread, a system call of the
    main thread would go on waiting. The kernel does so, for example, after a SIGSTOP.

    A thread that was started elsewhere may still get a signal, which then waits, too.
    """
    with signals_deferred():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Makes the first SIGTERM, SIGINT or SIGHUP raise Terminated; later ones do nothing.

    Later ones must not interrupt the cleanup, which takes a limited time; SIGKILL still works.
    The handler returns for them, instead of being set to SIG_IGN: Python would then print "Signal
    15 ignored due to race condition" for signals that came at the same moment. Signals that were
    ignored before stay ignored.

    After a signal they stay blocked: the process is about to end, and when Python exits, it
    restores their default action.
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
        # We may have inherited a mask that blocks them, here and in all programs that we start.
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
def time_limit(seconds: float | None, error: KitError) -> Iterator[None]:
    """Ends the block when its time is over, as a signal would: all that looks for one ends then.

    So it also ends what waits for an answer. Use it in the main thread, not within another one or
    within `signals_deferred`.

    Args:
        seconds: more than 0; None for no limit.
        error: is raised if the block is not over by then.

    Raises:
        KitError: that one.
    """
    if seconds is None:
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if _watch.stopping:
            return  # it ends already
        if _deferral.active:
            _deferral.number = number
        else:
            raise Terminated(number)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])  # it may be inherited
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Terminated as ended:
        if ended.number == signal.SIGALRM:
            raise error from ended
        raise
    finally:
        signal.signal(signal.SIGALRM, before)


@contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Calls `undo` at the end of the block.

    If `undo` fails after another error, its error is only logged: the first error is the cause.

    Raises:
        KitError: `undo` raised it, and nothing had failed before.
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
