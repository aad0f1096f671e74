"""How far a copy is: a bar on a terminal, lines in a log, JSON for programs."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol, TextIO

from node.errors import KitError
from node.text import size

LINE_SECONDS = 10.0
JSON_SECONDS = 0.5


class Progress(Protocol):
    """Told of phases, and how far each is."""

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """A phase begins, with so many bytes to go through, some of which may be done."""

    def update(self, done: int) -> None:
        """So many bytes of the phase are done."""

    def end(self) -> None:
        """The phase is over, well or not."""


class Silent:
    """Says nothing."""

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """Nothing."""

    def update(self, done: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class _Lossy:
    """A stream that loses what cannot be written: that is no reason to end a copy."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Writes, if it can."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flushes, if it can."""
        with suppress(OSError):
            self._stream.flush()


class Bar(Silent):
    """tqdm's bar: bytes, rate, time to go."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Any = None

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """Draws a new bar."""
        from tqdm import tqdm  # which takes its time to load

        self._bar = tqdm(
            desc=phase,
            total=total,
            initial=done,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            file=_Lossy(self._stream),
            dynamic_ncols=True,
            mininterval=0.2,
        )

    def update(self, done: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def end(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Lines(Silent):
    """A line every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = _Lossy(stream)
        self._next = self._began = 0.0
        self._phase = ""
        self._total = self._initial = 0

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """Keeps what the lines need."""
        self._phase, self._total, self._initial = phase, total, done
        self._began = time.monotonic()
        self._next = self._began + LINE_SECONDS

    def update(self, done: int) -> None:
        """Writes a line when it is time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LINE_SECONDS
            text = line(self._phase, done, self._total, done - self._initial, now - self._began)
            print(text, file=self._stream, flush=True)


def line(phase: str, done: int, total: int, moved: int, seconds: float) -> str:
    """One line of progress: how much, how fast, how long still."""
    percent = 100 * done // total if total else 100
    rate = moved / seconds if seconds > 0 else 0.0
    left = f", {duration((total - done) / rate)} to go" if rate > 0 else ""
    return f"{phase}: {size(done)} of {size(total)} ({percent} %), {size(int(rate))}/s{left}"


class Json(Silent):
    """A JSON object on each line: the schema is in qcow2raw(8).

    A program that asked for it acts upon it: where it cannot be written, that is a KitError.

    Args:
        stream: what it is written to.
        name: what errors call that.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._next = self._began = 0.0
        self._phase = ""
        self._total = self._initial = self._done = 0

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """Writes the first object of the phase."""
        self._phase, self._total, self._initial, self._done = phase, total, done, done
        self._began = time.monotonic()
        self._tell(done)

    def update(self, done: int) -> None:
        """Writes an object when it is time."""
        self._done = done
        if time.monotonic() >= self._next:
            self._tell(done)

    def end(self) -> None:
        """Writes the phase's last object; why the phase ended matters more than that it cannot."""
        with suppress(KitError):
            self._tell(self._done)

    def _tell(self, done: int) -> None:
        now = time.monotonic()
        self._next = now + JSON_SECONDS
        seconds = now - self._began
        rate = int((done - self._initial) / seconds) if seconds > 0 else 0
        fields = {"phase": self._phase, "bytes_done": done, "bytes_total": self._total}
        self.write({"type": "progress", **fields, "rate": rate})

    def write(self, fields: Mapping[str, Any]) -> None:
        """Writes one object."""
        try:
            print(json.dumps(fields), file=self._stream, flush=True)
        except OSError as error:
            self._give_up()
            raise KitError(
                f"{self._name}: {error.strerror}", hint="what reads it has ended, or is full"
            ) from error

    def _give_up(self) -> None:
        """Lets what the stream still holds go nowhere: Python tries once more when it ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, self._stream.fileno(), inheritable=False)
        os.close(nowhere)


def duration(seconds: float) -> str:
    """Seconds for people: 1:02:03, 2:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
