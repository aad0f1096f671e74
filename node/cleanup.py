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


@contextmanager
def signals_deferred() -> Iterator[Callable[[], bool]]:
    """Inside, a signal waits until the end: for what must not be left half done.

    What it gives tells whether one does, so that what takes long can end early.
    """
    within, _deferral.active = _deferral.active, True
    try:
        yield lambda: _deferral.number is not None
    finally:
        _deferral.active = within
        if not within:
            number, _deferral.number = _deferral.number, None
            if number is not None:
                raise Terminated(number)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Inside, the first SIGTERM, SIGINT or SIGHUP raises Terminated; later ones are ignored.

    They are ignored because the first one's unwinding must reach its end: unmounting is bounded
    in time, and SIGKILL is left for whoever cannot wait.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        if _deferral.active:
            _deferral.number = number
        else:
            raise Terminated(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        # Blocked, they would never come, neither here nor in any program that we start.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        raise
    undo()
