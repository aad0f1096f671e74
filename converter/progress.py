"""Progress reports: a bar on a terminal, lines in a log, JSON for programs."""

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
    """Receives the progress of each phase; all figures are bytes."""

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """A phase of `total` bytes begins; `done` of them are done already."""

    def update(self, done: int) -> None:
        """`done` bytes of the phase are done."""

    def end(self) -> None:
        """The phase ended, successfully or not."""


class PartedProgress(Progress, Protocol):
    """The progress of something with parts, such as a machine with several disks."""

    def part(self, name: str) -> Progress:
        """A report on one part, of the same kind, that names it."""


class Silent:
    """Reports nothing."""

    def part(self, name: str) -> Progress:  # noqa: ARG002 - see `PartedProgress`
        """Nothing."""
        return Silent()

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """Nothing."""

    def update(self, done: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class _Lossy:
    """A stream that ignores write errors: they are no reason to end a copy."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Writes, and ignores errors."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flushes, and ignores errors."""
        with suppress(OSError):
            self._stream.flush()


class Bar(Silent):
    """A progress bar by tqdm: bytes, rate, time left. tqdm places bars below each other.

    Args:
        stream: is written to.
        name: of the part, or "".
    """

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self._stream = stream
        self._name = name
        self._bar: Any = None

    def part(self, name: str) -> Progress:
        """See `PartedProgress`."""
        return Bar(self._stream, name)

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """Draws a new bar."""
        from tqdm import tqdm  # it is slow to load

        self._bar = tqdm(
            desc=_named(phase, self._name),
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
    """A line every ten seconds.

    Args:
        stream: is written to.
        name: of the part, or "".
    """

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self._given = stream
        self._stream = _Lossy(stream)
        self._name = name
        self._next = self._began = 0.0
        self._phase = ""
        self._total = self._initial = 0

    def part(self, name: str) -> Progress:
        """See `PartedProgress`."""
        return Lines(self._given, name)

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """Starts the phase; the first line comes after ten seconds."""
        self._phase, self._total, self._initial = _named(phase, self._name), total, done
        self._began = time.monotonic()
        self._next = self._began + LINE_SECONDS

    def update(self, done: int) -> None:
        """Writes a line when it is time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LINE_SECONDS
            text = line(self._phase, done, self._total, done - self._initial, now - self._began)
            print(text, file=self._stream, flush=True)


def _named(phase: str, part: str) -> str:
    return f"{part}: {phase}" if part else phase


def line(phase: str, done: int, total: int, moved: int, seconds: float) -> str:
    """One line of progress: bytes done, rate, time left."""
    percent = 100 * done // total if total else 100
    rate = moved / seconds if seconds > 0 else 0.0
    left = f", {duration((total - done) / rate)} to go" if rate > 0 else ""
    return f"{phase}: {size(done)} of {size(total)} ({percent} %), {size(int(rate))}/s{left}"


class Json(Silent):
    """A JSON object on each line; qcow2raw(8) documents the fields.

    A write error is a KitError, since a program relies on these lines.

    Args:
        stream: is written to.
        name: of the stream in errors.
        fields: of each progress object besides its own.
    """

    def __init__(self, stream: TextIO, name: str, fields: Mapping[str, Any] | None = None) -> None:
        self._stream = stream
        self._name = name
        self._fields = fields or {}
        self._next = self._began = 0.0
        self._phase = ""
        self._total = self._initial = self._done = 0

    def part(self, name: str) -> Progress:
        """See `PartedProgress`; the objects of a part have a field `disk`."""
        return Json(self._stream, self._name, {"disk": name})

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
        """Writes the phase's last object; an error here must not hide why the phase ended."""
        with suppress(KitError):
            self._tell(self._done)

    def _tell(self, done: int) -> None:
        now = time.monotonic()
        self._next = now + JSON_SECONDS
        seconds = now - self._began
        rate = int((done - self._initial) / seconds) if seconds > 0 else 0
        fields = {
            **self._fields,
            "phase": self._phase,
            "bytes_done": done,
            "bytes_total": self._total,
        }
        self.write({"type": "progress", **fields, "rate": rate})

    def write(self, fields: Mapping[str, Any]) -> None:
        """Writes one object."""
        try:
            print(json.dumps(fields), file=self._stream, flush=True)
        except OSError as error:
            self._give_up()
            raise KitError(
                f"{self._name}: {error.strerror}", hint="its reader has ended, or the disk is full"
            ) from error

    def _give_up(self) -> None:
        """Sends the stream's unwritten data to /dev/null: Python flushes once more at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, self._stream.fileno(), inheritable=False)
        os.close(nowhere)


def duration(seconds: float) -> str:
    """Seconds as text: 1:02:03, 2:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
