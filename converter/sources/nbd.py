"""Disks that an NBD server exports. With `nbd_connect`, the only user of libnbd.

libnbd's Python module releases the GIL while it waits, so threads with their own connections read
in parallel. Reads go directly into the caller's memory.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote

import nbd
import xxhash

from converter.errors import FormatConflict, SourceChanged, SourceLost
from converter.extents import Extent, Kind, merged
from converter.sources.nbd_connect import ALLOCATION, TICK_MS, admitted, connected
from node.cleanup import signal_waits
from node.errors import KitError

MAX_READ = 32 << 20  # bytes that every server accepts (the NBD protocol, "Block size constraints")
MAX_STATUS = 1 << 30  # bytes of one request; its length has 32 bits
HEAD = 1 << 20  # bytes of the disk that are part of its identity
# A further connection without an answer for this long is given up: seconds, or a multiple of the
# time that the first connection took, if that is longer.
ADMIT_SECONDS, ADMIT_TIMES = 1.0, 10
READERS = 8  # maximum number of useful connections
SILENCE_SECONDS = 300.0  # timeout of a request: a server may have to wait for its disks
STOPPING_SECONDS = 5.0  # the same after a signal

Origin = Mapping[str, str | int]


@contextmanager
def nbd_source(uri: str, image_format: str | None = None) -> Iterator["NbdSource"]:
    """Opens an export of an NBD server.

    Args:
        uri: nbd://host[:port]/export or nbd+unix:///export?socket=/path (the NBD URI
            specification).
        image_format: None or raw: the export is the disk, whatever format the server reads.

    Raises:
        SourceLost: the server cannot be reached, or does not export that.
        FormatConflict: another format is given.
    """
    if image_format not in (None, "raw"):
        raise FormatConflict(
            uri,
            f"format {image_format}: an NBD server always exports a raw disk",
            hint="leave the format out; the server (qemu-nbd --format) reads the image's format",
        )
    source = NbdSource(uri, uri, "raw", {"uri": uri})
    try:
        yield source
    finally:
        source.close()


def unix_uri(path: str) -> str:
    """The URI of the default export of a server that listens on a unix socket."""
    return f"nbd+unix:///?socket={quote(path)}"


class NbdSource:
    """A `converter.sources.base.Source`: an export of an NBD server.

    Args:
        uri: of the export.
        name: as the user gave it.
        image_format: of the image that the server reads.
        origin: further fields of the image's identity.
        features: of the image, as text.
        status: of the image's file, if that is on this node.
        check_origin: raises KitError if the image has changed.
        last_words: returns the last message of the program behind the connection, if any.

    Raises:
        SourceLost: it cannot be reached.
        KitError: it cannot be read.
    """

    def __init__(
        self,
        uri: str,
        name: str,
        image_format: str,
        origin: Origin,
        *,
        features: Mapping[str, str] | None = None,
        status: os.stat_result | None = None,
        check_origin: Callable[[], None] = lambda: None,
        last_words: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.name = name
        self.format = image_format
        self.sizes: Mapping[Kind, int] | None = None
        self.features = features or {}
        self.status = status
        self._uri = uri
        self._last_words = last_words
        self._check_origin = check_origin
        started = time.monotonic()
        self._control = _Connection(connected(uri, name, last_words), name, last_words)
        self._patience = max(ADMIT_SECONDS, ADMIT_TIMES * (time.monotonic() - started))
        self._spare: list[_Connection] = []  # for readers that are not opened yet
        self.size = self._control.size
        self._head = self._digest()
        self.identity: Origin = {**origin, "disk_size": self.size, "disk_head": self._head}

    def _digest(self) -> str:
        head = bytearray(min(HEAD, self.size))
        self._control.read([(0, memoryview(head))])
        return xxhash.xxh3_128_hexdigest(head)

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """See `Source`. ZERO is only what the server promises to read as zeros."""
        return merged(self._extents(start))

    def _extents(self, start: int) -> Iterator[Extent]:
        place = start
        while place < self.size:
            for run in self._control.status(place):
                length = min(run.end, self.size) - place
                yield Extent(place, length, run.kind, place if run.kind is Kind.DATA else 0)
                place += length

    @cached_property
    def readers(self) -> int:
        """See `Source`. Opens a connection for each reader to find the number.

        Servers accept a limited number of connections. Some refuse the others, some do not answer
        them. If the server does not state that several are safe, all readers share the first one.
        """
        if not self._control.can_share:
            return READERS
        for handle in admitted(self._uri, READERS, self._patience):
            self._spare.append(_Connection(handle, self.name, self._last_words))
        return max(1, len(self._spare))

    def reader(self) -> "NbdReader":
        """A reader with its own connection, if `readers` has opened one; else it shares ours."""
        if self._spare:
            return NbdReader(self._spare.pop(), is_own=True)
        return NbdReader(self._control, is_own=False)

    def check_unchanged(self) -> None:
        """See `Source`. Of the server's disk, only size and first bytes can be checked."""
        self._check_origin()
        if self._digest() != self._head:
            raise SourceChanged(
                f"source {self.name}: it changed while it was copied",
                hint="stop what writes to it, and copy again",
            )

    def close(self) -> None:
        """Disconnects; idempotent. Readers close their own connections."""
        for connection in (self._control, *self._spare):
            connection.close()


class NbdReader:
    """A `converter.sources.base.Reader`."""

    def __init__(self, connection: "_Connection", *, is_own: bool) -> None:
        self._connection = connection
        self._is_own = is_own

    def read(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        """See `Reader`."""
        self._connection.read(
            [
                (each.host_offset, view[each.guest_offset - start : each.end - start])
                for each in extents
            ]
        )

    def close(self) -> None:
        """Disconnects, if the connection is the reader's own."""
        if self._is_own:
            self._connection.close()


class _Run(NamedTuple):
    """A part of the disk, as the server describes it; it begins where the previous one ends."""

    end: int
    kind: Kind


class _Request(NamedTuple):
    """A read request that is under way."""

    offset: int
    cookie: int
    finish: Callable[[], None]


class _Connection:
    """One connection to a server; threads use it one at a time."""

    def __init__(self, handle: Any, name: str, last_words: Callable[[], str | None]) -> None:
        self._name = name
        self._last_words = last_words
        self._turn = threading.Lock()
        self.size: int = handle.get_size()
        self.can_share: bool = handle.can_multi_conn()
        self._has_status: bool = handle.can_meta_context(ALLOCATION)
        self._unit: int = handle.get_block_size(nbd.SIZE_MINIMUM) or 1
        self._most: int = min(handle.get_block_size(nbd.SIZE_MAXIMUM) or MAX_READ, MAX_READ)
        self._handle: Any = handle

    def close(self) -> None:
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

    def status(self, place: int) -> list[_Run]:
        """The server's block status from `place` on: at least one run, which begins there.

        A hole that the server does not promise to read as zeros is DATA (the NBD protocol,
        "base:allocation").

        Raises:
            SourceLost: the connection is lost.
            KitError: the server fails.
        """
        if not self._has_status:
            return [_Run(self.size, Kind.DATA)]
        found: list[int] = []

        def describe(context: str, _offset: int, entries: list[int], _error: Any) -> int:
            if context == ALLOCATION:
                found.extend(entries)  # a length, its flags, a length, …
            return 0

        start = place - place % self._unit
        count = min(MAX_STATUS, self.size - start)
        with self._turn:
            try:
                cookie = self._open.aio_block_status(count, start, describe)
            except nbd.Error as error:
                self._fail("block status", place, error)
            self._finish("block status", place, cookie)
        runs = []
        end = start
        for length, flags in zip(found[::2], found[1::2], strict=True):
            end += length
            if end > place and length:
                runs.append(_Run(end, Kind.ZERO if flags & nbd.STATE_ZERO else Kind.DATA))
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
