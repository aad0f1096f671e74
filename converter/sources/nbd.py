"""Disks that an NBD server exports.

The server's answers are input like an image: `nbd_connection` keeps them within the disk.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from urllib.parse import quote

import nbd

from converter.errors import ContextMissing, FormatConflict, SourceChanged
from converter.extents import Extent, Kind, merged
from converter.sources.nbd_connect import ALLOCATION, admitted, connected
from converter.sources.nbd_connection import Connection, Run
from converter.sources.served import HEAD, Origin, head_digest, identity

# A further connection without an answer for this long is given up: seconds, or a multiple of the
# time that the first connection took, if that is longer.
ADMIT_SECONDS, ADMIT_TIMES = 1.0, 10
READERS = 8  # maximum number of useful connections


@contextmanager
def nbd_source(
    uri: str,
    image_format: str | None = None,
    *,
    name: str | None = None,
    origin: Origin | None = None,
    context: str | None = None,
) -> Iterator["NbdSource"]:
    """Opens an export of an NBD server.

    Args:
        uri: nbd://host[:port]/export or nbd+unix:///export?socket=/path (the NBD URI
            specification).
        image_format: None or raw: the export is the disk, whatever format the server reads.
        name: how errors name it; by default by its URI.
        origin: what identifies the disk for the journal, together with its size and first bytes;
            by default the URI. A caller that reaches the same disk by another URI later gives it.
        context: a further meta context, for `NbdSource.runs`.

    Raises:
        SourceLost: the server cannot be reached, or does not export that.
        ContextMissing: it does not offer the meta context.
        FormatConflict: another format is given.
    """
    if image_format not in (None, "raw"):
        raise FormatConflict(
            uri,
            f"format {image_format}: an NBD server always exports a raw disk",
            hint="leave the format out; the server (qemu-nbd --format) reads the image's format",
        )
    known = {"uri": uri} if origin is None else origin
    source = NbdSource(uri, name or uri, "raw", known, context=context)
    try:
        yield source
    finally:
        source.close()


def unix_uri(path: str, export: str = "") -> str:
    """The URI of an export of a server that listens on a unix socket, by default of the first."""
    return f"nbd+unix:///{quote(export, safe='')}?socket={quote(path)}"


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
        context: a further meta context, for `runs`.

    Raises:
        SourceLost: it cannot be reached.
        ContextMissing: the server does not offer the meta context.
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
        context: str | None = None,
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
        self._control = self._connection(connected(uri, name, last_words))
        self._patience = max(ADMIT_SECONDS, ADMIT_TIMES * (time.monotonic() - started))
        self._spare: list[Connection] = []  # for readers that are not opened yet
        self.size = self._control.size
        self._has_status = self._control.offers(ALLOCATION)
        self._context = context
        self._marks = self._control
        if context is not None:
            # A connection of its own: the server would work out both for each request.
            self._marks = self._connection(connected(uri, name, last_words, context))
            if not self._marks.offers(context) or self._marks.size != self.size:
                self.close()
                raise ContextMissing(name, context)
        self._head = self._digest()
        self.identity = identity(origin, self.size, self._head)

    def _connection(self, handle: object) -> Connection:
        return Connection(handle, self.name, self._last_words)

    def _digest(self) -> str:
        head = bytearray(min(HEAD, self.size))
        self._control.read([(0, memoryview(head))])
        return head_digest(head)

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """See `Source`. ZERO is only what the server promises to read as zeros."""
        return self.extents_within(start, self.size)

    def extents_within(self, start: int, end: int) -> Iterator[Extent]:
        """The extents from `start` up to `end`; the server is asked for no others."""
        if not self._has_status:
            return iter([Extent(start, end - start, Kind.DATA, start)] if start < end else [])
        return merged(map(_extent, _runs(self._control, ALLOCATION, start, end)))

    def runs(self, start: int = 0) -> Iterator[Run]:
        """The runs of the further meta context from `start` to the disk's end, without gaps."""
        assert self._context is not None
        return _runs(self._marks, self._context, start, self.size)

    @cached_property
    def readers(self) -> int:
        """See `Source`. Opens a connection for each reader to find the number.

        Servers accept a limited number of connections. Some refuse the others, some do not answer
        them. If the server does not state that several are safe, all readers share the first one.
        """
        if not self._control.can_share:
            return READERS
        for handle in admitted(self._uri, READERS, self._patience):
            self._spare.append(self._connection(handle))
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
        for connection in (self._control, self._marks, *self._spare):
            connection.close()


def _runs(connection: Connection, context: str, start: int, end: int) -> Iterator[Run]:
    place = start
    while place < end:
        for run in connection.status(context, place, end):
            yield run
            place = run.end


def _extent(run: Run) -> Extent:
    """By the flags of base:allocation; a hole may read as anything (the NBD protocol)."""
    if run.flags & nbd.STATE_ZERO:
        return Extent(run.start, run.end - run.start, Kind.ZERO)
    return Extent(run.start, run.end - run.start, Kind.DATA, run.start)


class NbdReader:
    """A `converter.sources.base.Reader`."""

    def __init__(self, connection: Connection, *, is_own: bool) -> None:
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
