"""The log: one record per line, nested steps and their durations."""

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
    """How many steps are open, and the finished ones (depth, name, seconds)."""

    depth: int = 0
    finished: list[tuple[int, str, float]] = field(default_factory=list)


_steps = _Steps()


class _Indented(logging.Formatter):
    """Formats a record as one line, without control characters of the names in it.

    Args:
        clean: makes a text fit for the log. Records with the attribute `fact` are not cleaned.
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
    """Remembers the first failure of a stream that is full or closed, and prints nothing."""

    failure: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self.failure = self.failure or error
        elif not isinstance(error, ValueError):  # raised for a closed file
            super().handleError(record)


def failure() -> OSError | None:
    """The first error of writing the log, or None."""
    return next((found.failure for found in log.handlers if isinstance(found, _Handler)), None)


def flush() -> None:
    """Flushes stdout and stderr; errors are ignored, since the writer has seen them."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None: it was closed when the program started
            with suppress(OSError):
                stream.flush()


def to_stream(
    *,
    debug: bool = False,
    quiet: bool = False,
    stderr: bool = False,
    clean: Callable[[str], str] = on_one_line,
) -> None:
    """Sends the log to stdout or stderr.

    Args:
        debug: whether debug lines are logged, too.
        quiet: whether only errors are logged.
        stderr: whether it goes to stderr, for commands whose stdout carries data.
        clean: makes each text fit for the log, on one line.
    """
    handler = _Handler(sys.stderr if stderr else sys.stdout)
    handler.setFormatter(_Indented(clean))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.INFO)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Logs the name of a step, indents what is logged inside it, and records its duration."""
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
    """One line for each finished step with the seconds it took, outer steps before inner ones."""
    return [f"{seconds:7.1f} s  {'  ' * depth}{name}" for depth, name, seconds in _steps.finished]
