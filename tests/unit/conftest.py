"""Unit tests run no program: they test pure code, or the command line that would be run."""

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import date

import pytest
from hypothesis import settings

from installer import releases
from node.log import log

# How long an example takes tells of the machine's load; and a checkout may be read-only. Each run
# takes the same examples, so that no change is blamed for what another run would have found:
# tests/fuzz looks for new ones.
settings.register_profile("kit", deadline=None, database=None, derandomize=True)
settings.load_profile("kit")


@pytest.fixture(autouse=True)
def _no_subprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a unit test tried to run a program")

    monkeypatch.setattr(os, "fork", forbidden)
    monkeypatch.setattr(os, "posix_spawn", forbidden)
    monkeypatch.setattr(subprocess.Popen, "__init__", forbidden)


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases reach their end of life; what the tests expect of them does not wait for that."""
    monkeypatch.setattr(releases, "_today", lambda: date(2026, 1, 1))


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A program's main sends the log to its own stream: no other test is to find it there."""
    handlers, propagate, level = log.handlers, log.propagate, log.level
    yield
    log.handlers, log.propagate = handlers, propagate
    log.setLevel(level)


@pytest.fixture
def _no_timer() -> Iterator[None]:
    """For tests of what uses the timer of this process, as pytest-timeout does."""
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    handler = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *timer)
