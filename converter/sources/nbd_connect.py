"""Connects to NBD servers: once, or as often as they let us in."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import nbd

from node.errors import KitError

ALLOCATION = "base:allocation"
CONNECT_SECONDS = 60.0
TICK_MS = 1000  # so often Python gets to see signals
_ADMIT_TICK_MS = 5  # while another connection may have its answer


def _started(uri: str) -> Any:
    """A handle that connects to a server; raises nbd.Error."""
    handle = nbd.NBD()
    handle.add_meta_context(ALLOCATION)
    # NbdSource sees to it, but for the end of a disk that ends within a block.
    handle.set_strict_mode(handle.get_strict_mode() & ~nbd.STRICT_ALIGN)
    handle.set_pread_initialize(False)  # zeroing memory that is then read into
    handle.aio_connect_uri(uri)
    return handle


def _is_under_way(handle: Any) -> bool:
    return bool(handle.aio_is_connecting() or handle.aio_is_negotiating())


def connected(uri: str, name: str, last_words: Callable[[], str | None]) -> Any:
    """A handle that is connected.

    Raises:
        KitError: the server cannot be reached, or does not answer.
    """
    try:
        handle = _started(uri)
        deadline = time.monotonic() + CONNECT_SECONDS
        while _is_under_way(handle):
            handle.poll(TICK_MS)
            if time.monotonic() > deadline:
                raise KitError(
                    f"source {name}: no answer in {CONNECT_SECONDS:.0f} s",
                    hint="does its server run, is it reached, and does it admit another client?"
                    " nbdinfo asks it, too",
                )
        handle.get_size()  # raises if it was turned away
    except nbd.Error as error:
        why = last_words() or error.string
        raise KitError(
            f"source {name}: the NBD connection fails: {why}",
            hint="does the server run, and export that? nbdinfo tells",
        ) from error
    return handle


def admitted(uri: str, count: int, patience: float) -> list[Any]:
    """Handles of all connections, of so many, that a server lets in.

    Args:
        uri: of the export.
        count: connections that are tried, all at once.
        patience: seconds after the last answer; CONNECT_SECONDS in all.
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
                handle.get_size()  # raises if it was turned away
                ready.append(handle)
            except nbd.Error:
                pass
            pending.remove(handle)
    return ready
