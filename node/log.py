"""The log: nested steps, their durations, and plain lines that grep finds."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from node.text import printable

log = logging.getLogger("ganeti-instance-kit")


@dataclass
class _Steps:
    """How deep we stand in steps, and what the finished ones took (depth, name, seconds)."""

    depth: int = 0
    finished: list[tuple[int, str, float]] = field(default_factory=list)


_steps = _Steps()


class _Indented(logging.Formatter):
    """One line for each record: whatever it names cannot begin another, or steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(record.getMessage().expandtabs())
        if record.levelno == logging.WARNING:
            text = f"warning: {text}"
        shown = "  " * _steps.depth + text
        if record.exc_info:
            shown += f"\n{self.formatException(record.exc_info)}"
        return shown


def to_stream(*, debug: bool = False, quiet: bool = False, stderr: bool = False) -> None:
    """Sends the log to stdout, or to stderr where stdout carries data; `quiet`: only errors."""
    handler = logging.StreamHandler(sys.stderr if stderr else sys.stdout)
    handler.setFormatter(_Indented())
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
