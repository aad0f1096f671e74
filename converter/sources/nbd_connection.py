"""One connection to an NBD server: reads and block status, with every answer checked.

libnbd's Python module releases the GIL while it waits, so threads with their own connections read
in parallel. Reads go directly into the caller's memory.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import nbd

from converter.errors import SourceLost
from converter.sources.nbd_connect import TICK_MS
from node.cleanup import signal_waits
from node.errors import KitError

MAX_READ = 32 << 20  # bytes that every server accepts (the NBD protocol, "Block size constraints")
# Bytes of one request: its length has 32 bits, and is a multiple of all block sizes.
MAX_STATUS = (1 << 32) - (64 << 10)
SILENCE_SECONDS = 300.0  # timeout of a request: a server may have to wait for its disks
STOPPING_SECONDS = 5.0  # the same after a signal


class Run(NamedTuple):
    """A part of the disk to which one meta context gives the same flags; bytes."""

    start: int
    end: int
    flags: int


class _Request(NamedTuple):
    """A read request that is under way."""

    offset: int
    cookie: int
    finish: Callable[[], None]


class Connection:
    """One connection to a server; threads use it one at a time."""

    def __init__(self, handle: Any, name: str, last_words: Callable[[], str | None]) -> None:
        self._name = name
        self._last_words = last_words
        self._turn = threading.Lock()
        self.size: int = handle.get_size()
        self.can_share: bool = handle.can_multi_conn()
        self._unit: int = handle.get_block_size(nbd.SIZE_MINIMUM) or 1
        self._most: int = min(handle.get_block_size(nbd.SIZE_MAXIMUM) or MAX_READ, MAX_READ)
        self._handle: Any = handle

    def close(self) -> None:
        """Disconnects."""
        with self._turn:
            self._handle = None  # libnbd disconnects when it frees it

    def read(self, pieces: Sequence[tuple[int, memoryview]]) -> None:
        """Reads into each view from its offset; all requests are sent at once.

        Raises:
            SourceLost: the connection is lost.
            KitError: the server cannot read.
        """
        with self._turn:
            requests = []
            for offset, view in pieces:
                end = offset + len(view)
                place = offset
                while place < end:
                    # Cut at multiples of the maximum, so that rounding to blocks stays below it.
                    upto = min(end, place - place % self._most + self._most)
                    requests.append(self._begin(place, view[place - offset : upto - offset]))
                    place = upto
            for request in requests:
                self._finish("read", request.offset, request.cookie)
                request.finish()

    def _begin(self, offset: int, view: memoryview) -> _Request:
        before = offset % self._unit
        end = offset + len(view)
        # A disk may end within a block: do not read beyond its end.
        behind = max(min(-end % self._unit, self.size - end), 0)
        if before or behind:  # the server reads whole blocks only
            whole = memoryview(bytearray(before + len(view) + behind))

            def finish() -> None:
                view[:] = whole[before : before + len(view)]

            return _Request(offset, self._send(offset - before, whole), finish)
        return _Request(offset, self._send(offset, view), lambda: None)

    def _send(self, offset: int, view: memoryview) -> int:
        try:
            return int(self._open.aio_pread(nbd.Buffer.from_buffer(view), offset))
        except nbd.Error as error:
            self._fail("read", offset, error)

    def offers(self, context: str) -> bool:
        """Whether the server has accepted a meta context that was asked for."""
        return bool(self._open.can_meta_context(context))

    def status(self, context: str, place: int, end: int) -> list[Run]:
        """The server's block status from `place` on: at least one run, which begins there.

        The runs are in order and without gaps. They end at or before `end`, which is not beyond
        the disk's, however far the server's answer goes.

        Args:
            context: a meta context that the server offers.
            place: where to begin.
            end: where to stop, at the latest.

        Raises:
            SourceLost: the connection is lost.
            KitError: the server fails.
        """
        answers: list[list[int]] = []

        def describe(of: str, _offset: int, entries: list[int], _error: Any) -> int:
            if of == context:
                answers.append(entries)  # a length, its flags, a length, …
            return 0

        start = place - place % self._unit
        behind = min(end + -end % self._unit, self.size)
        count = min(MAX_STATUS, behind - start)
        with self._turn:
            try:
                cookie = self._open.aio_block_status(count, start, describe)
            except nbd.Error as error:
                self._fail("block status", place, error)
            self._finish("block status", place, cookie)
        runs = []
        upto = start
        found = answers[0] if answers else []  # the protocol has one answer for each context
        for length, flags in zip(found[::2], found[1::2], strict=True):
            begin, upto = max(upto, place), min(upto + length, end)
            if begin < upto:
                runs.append(Run(begin, upto, flags))
        if not runs:
            raise KitError(
                f"block status of {self._name} at byte {place}: the answer is empty",
                hint="the server violates the NBD protocol: use another one",
            )
        return runs

    @property
    def _open(self) -> Any:
        if self._handle is None:
            raise SourceLost(
                f"source {self._name}: the connection is closed",
                hint="check that its server still runs, then run it again",
            )
        return self._handle

    def _finish(self, what: str, offset: int, cookie: int) -> None:
        """Waits for a request; after a failure, the connection is not used any more."""
        heard = time.monotonic()
        try:
            while not self._open.aio_command_completed(cookie):
                if self._handle.poll(TICK_MS):
                    heard = time.monotonic()
                elif time.monotonic() > heard + (
                    patience := STOPPING_SECONDS if signal_waits() else SILENCE_SECONDS
                ):
                    raise SourceLost(
                        f"{what} of {self._name} at byte {offset}: no answer in {patience:.0f} s"
                    )
        except nbd.Error as error:
            self._fail(what, offset, error)
        except BaseException:
            self._handle = None  # requests under way could still write into other buffers
            raise

    def _fail(self, what: str, offset: int, error: Any) -> NoReturn:
        handle, self._handle = self._handle, None
        where = f"{what} of {self._name} at byte {offset}"
        if handle.aio_is_dead() or handle.aio_is_closed():
            words = self._last_words()
            raise SourceLost(
                f"{where}: the connection was lost{f': {words}' if words else ''}"
            ) from error
        why = f"{os.strerror(error.errnum)} ({error.errno})" if error.errno else error.string
        raise KitError(
            f"{where}: {why}", hint="the server cannot read its disk or image: see its log"
        ) from error
