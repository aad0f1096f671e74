"""Sinks take the content that was read: to write it, to update the target, or to compare."""

import threading
from typing import Protocol

from converter.buffers import PAGE, buffer, equal, is_zero
from converter.extents import CHUNK
from converter.target.device import Target
from converter.target.zeroing import Zeroer

BLOCK = 64 << 10  # bytes: the smallest write of an update
_ZEROS = buffer(CHUNK)


class Sink(Protocol):
    """Takes a target's content piece by piece; each thread has its own sink."""

    def data(self, start: int, view: memoryview) -> None:
        """Takes bytes; `start` is a multiple of PAGE."""

    def zeros(self, start: int, end: int) -> None:
        """Takes zeros."""


class Writer:
    """Writes all data; makes zeros with a `Zeroer`.

    Args:
        few: limits the number of threads that write at once to what keeps a disk busy. With more,
            each write would take longer on a slow disk, and the journal would advance later.
    """

    def __init__(self, target: Target, zeroer: Zeroer, few: threading.Semaphore) -> None:
        self._target = target
        self._zeroer = zeroer
        self._few = few

    def data(self, start: int, view: memoryview) -> None:
        """Writes bytes; if all are zero, makes the range zero instead."""
        if is_zero(view):
            self._zeroer.zero(start, len(view))
        else:
            with self._few:
                self._target.write(view, start)

    def zeros(self, start: int, end: int) -> None:
        """Makes a range zero."""
        self._zeroer.zero(start, end - start)


class _Reading:
    """A sink that first reads the target's content."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._held = buffer(CHUNK)

    def data(self, start: int, view: memoryview) -> None:
        held = self._held[: len(view)]
        self._target.read_into(held, start)
        if not equal(held, view):
            self.differs(start, view, held)

    def zeros(self, start: int, end: int) -> None:
        for place in range(start, end, CHUNK):
            self.data(place, _ZEROS[: min(CHUNK, end - place)])

    def differs(self, start: int, view: memoryview, held: memoryview) -> None:
        raise NotImplementedError


class Updater(_Reading):
    """Writes only the blocks that differ from the target's content."""

    def differs(self, start: int, view: memoryview, held: memoryview) -> None:
        """Writes runs of blocks that differ."""
        begin = None
        for place in range(0, len(view) + BLOCK, BLOCK):
            same = place >= len(view) or equal(
                view[place : place + BLOCK], held[place : place + BLOCK]
            )
            if same and begin is not None:
                upto = min(place, len(view))
                self._target.write(view[begin:upto], start + begin)
                begin = None
            elif not same and begin is None:
                begin = place


class Differences:
    """The result of a comparison; shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.first: int | None = None  # the first byte that differs
        self.bytes = 0  # how many bytes are in pages that differ

    def add(self, place: int, count: int) -> None:
        """Adds a difference."""
        with self._lock:
            self.first = place if self.first is None else min(place, self.first)
            self.bytes += count


class Comparer(_Reading):
    """Compares, and writes nothing."""

    def __init__(self, target: Target, found: Differences) -> None:
        super().__init__(target)
        self._found = found

    def differs(self, start: int, view: memoryview, held: memoryview) -> None:
        """Records the first byte that differs, and the bytes of the pages that differ."""
        first, count = None, 0
        for place in range(0, len(view), PAGE):
            page, other = view[place : place + PAGE], held[place : place + PAGE]
            if not equal(page, other):
                count += len(page)
                if first is None:
                    first = place + next(i for i in range(len(page)) if page[i] != other[i])
        assert first is not None
        self._found.add(start + first, count)
