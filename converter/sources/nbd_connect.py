"""Connects to NBD servers: one connection, or as many as they accept."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import nbd

from converter.errors import SourceLost

ALLOCATION = "base:allocation"
CONNECT_SECONDS = 60.0
TICK_MS = 1000  # maximum time until Python handles a signal
_ADMIT_TICK_MS = 5  # short, since the answer for another connection may be there


def _started(uri: str, context: str = ALLOCATION) -> Any:
    """A handle that has begun to connect; raises nbd.Error."""
    handle = nbd.NBD()
    handle.add_meta_context(context)
    # NbdSource aligns requests itself, except at the end of a disk that ends within a block.
    handle.set_strict_mode(handle.get_strict_mode() & ~nbd.STRICT_ALIGN)
    handle.set_pread_initialize(False)  # no need to zero memory that is then read into
    handle.aio_connect_uri(uri)
    return handle


def _is_under_way(handle: Any) -> bool:
    return bool(handle.aio_is_connecting() or handle.aio_is_negotiating())


def connected(
    uri: str, name: str, last_words: Callable[[], str | None], context: str = ALLOCATION
) -> Any:
    """A connected handle, which has asked for a meta context.

    Raises:
        SourceLost: the server cannot be reached, turns us away, or does not answer.
    """
    try:
        handle = _started(uri, context)
        deadline = time.monotonic() + CONNECT_SECONDS
        while _is_under_way(handle):
            handle.poll(TICK_MS)
            if time.monotonic() > deadline:
                raise SourceLost(
                    f"source {name}: no answer in {CONNECT_SECONDS:.0f} s",
                    hint="does its server run, can it be reached, and does it accept more clients?"
                    " nbdinfo URI tests it",
                )
        handle.get_size()  # raises if the server refused us
    except nbd.Error as error:
        why = last_words() or error.string
        raise SourceLost(
            f"source {name}: the NBD connection fails: {why}",
            hint="does the server run, and export that? nbdinfo URI tests it",
        ) from error
    return handle


def admitted(uri: str, count: int, patience: float) -> list[Any]:
    """The connected handles of those connections that a server accepts.

    Args:
        uri: of the export.
        count: connections to try, all at once.
        patience: seconds to wait after the last answer; CONNECT_SECONDS in total.
    """
    pending, ready = [], []
    with suppress(nbd.Error):
        pending = [_started(uri) for _ in range(count)]
    began = heard = time.monotonic()
    while pending and time.monotonic() < min(heard + patience, began + CONNECT_SECONDS):
        for handle in list(pending):
            try:
                if _is_under_way(handle) and handle.poll(_ADMIT_TICK_MS):
                    heard = time.monotonic()
                if _is_under_way(handle):
                    continue
                handle.get_size()  # raises if the server refused it
                ready.append(handle)
            except nbd.Error:
                pass
            pending.remove(handle)
    return ready
