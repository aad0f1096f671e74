"""The log: nested steps, their durations, and plain lines that grep finds."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

from node.text import on_one_line

log = logging.getLogger("ganeti-instance-kit")


@dataclass
class _Steps:
    """How deep we stand in steps, and what the finished ones took (depth, name, seconds)."""

    depth: int = 0
    finished: list[tuple[int, str, float]] = field(default_factory=list)


_steps = _Steps()


class _Indented(logging.Formatter):
    """One line for each record: whatever it names cannot begin another, or steer a terminal.

    Args:
        clean: makes a text fit for the log. Records that carry `fact` are logged as they are.
    """

    def __init__(self, clean: Callable[[str], str]) -> None:
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if not getattr(record, "fact", False):
            text = self._clean(text)
        if record.levelno == logging.WARNING:
            text = f"warning: {text}"
        shown = "  " * _steps.depth + text
        if record.exc_info:
            trace = self.formatException(record.exc_info).split("\n")
            shown = "\n".join([shown, *map(self._clean, trace)])
        return shown


class _Handler(logging.StreamHandler[TextIO]):
    """Keeps the first failure of a stream that is full or closed, and goes on without a word."""

    failure: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self.failure = self.failure or error
        elif not isinstance(error, ValueError):  # that of a closed file
            super().handleError(record)


def failure() -> OSError | None:
    """Why a line of the log could not be written, if there is one."""
    return next((found.failure for found in log.handlers if isinstance(found, _Handler)), None)


def flush() -> None:
    """Flushes stdout and stderr; what is full or closed was seen by whoever wrote to it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # Python's own word for one that was closed from the beginning
            with suppress(OSError):
                stream.flush()


def to_stream(
    *,
    debug: bool = False,
    quiet: bool = False,
    stderr: bool = False,
    clean: Callable[[str], str] = on_one_line,
) -> None:
    """Sends the log to a stream.

    Args:
        debug: with what else helps to find a fault.
        quiet: only errors.
        stderr: to stderr, as stdout carries data.
        clean: makes each text fit for the log, on one line.
    """
    handler = _Handler(sys.stderr if stderr else sys.stdout)
    handler.setFormatter(_Indented(clean))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.INFO)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Names a step in the log, indents what is logged inside, and keeps its duration."""
    log.info("%s", name)
    started = time.monotonic()
    place = len(_steps.finished)
    depth = _steps.depth
    _steps.depth += 1
    try:
        yield
    finally:
        _steps.depth = depth
        _steps.finished.insert(place, (depth, name, time.monotonic() - started))


def durations() -> list[str]:
    """One line for each finished step, outer before inner, and the seconds it took."""
    return [f"{seconds:7.1f} s  {'  ' * depth}{name}" for depth, name, seconds in _steps.finished]
