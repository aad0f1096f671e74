"""Runs several jobs at once, each in a process of its own, for a limited time."""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from node.cleanup import SIGNALS
from node.syscalls import killed_with_parent

T = TypeVar("T")
Key = TypeVar("Key")


def at_once(jobs: Mapping[Key, Callable[[], T]], seconds: float) -> dict[Key, T]:
    """Runs each job in a process of its own; returns the results of those that end in time.

    A name server that does not answer can block a thread for minutes. A process can be killed.

    Args:
        jobs: they return values of JSON, and raise nothing; tuples become lists.
        seconds: for all of them.
    """
    deadline = time.monotonic() + seconds
    pipes: dict[int, Key] = {}
    children: list[int] = []
    try:
        for key, job in jobs.items():
            pipe, child = _started(job)
            pipes[pipe] = key
            children.append(child)
        return _results(pipes, deadline)
    finally:
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for pipe in pipes:
            os.close(pipe)


def _results(pipes: Mapping[int, Key], deadline: float) -> dict[Key, T]:
    said = dict.fromkeys(pipes, b"")
    results: dict[Key, T] = {}
    while said and (left := deadline - time.monotonic()) > 0:
        for pipe in select.select(list(said), [], [], left)[0]:
            data = os.read(pipe, 1 << 16)
            said[pipe] += data
            if not data:
                content = said.pop(pipe)
                with suppress(ValueError):  # it was killed
                    results[pipes[pipe]] = json.loads(content)
    return results


def _started(job: Callable[[], T]) -> tuple[int, int]:
    """The pipe from which the result can be read, and the process ID."""
    here, there = os.pipe()
    child = os.fork()
    if child:
        os.close(there)
        return here, child
    code = 1
    try:
        killed_with_parent()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        with os.fdopen(there, "w") as pipe:
            json.dump(job(), pipe)
        code = 0
    finally:
        os._exit(code)
