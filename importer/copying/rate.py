"""Limits how fast sources are read: all copies together, in bytes per second."""

import threading
import time
from collections.abc import Iterator, Sequence

from converter import Extent, Reader, Source
from converter.extents import CHUNK
from node.cleanup import signal_waits

TICK = 0.2  # maximum seconds until a signal ends a wait
# Seconds for which the readers of one source wait for each other, at most: a copy that ends waits
# for all of them.
QUEUE_SECONDS = 2.0


class Rate:
    """A number of bytes per second that several copies share; safe for threads."""

    def __init__(self, bytes_per_second: int) -> None:
        if bytes_per_second < 1:
            raise ValueError(f"rate {bytes_per_second}: not a positive number of bytes per second")
        self.bytes_per_second = bytes_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0  # when all that was taken so far has had its time

    def take(self, count: int) -> None:
        """Waits until `count` bytes more may be read; after a signal it does not wait."""
        with self._lock:
            begins = max(self._free_at, time.monotonic())
            self._free_at = begins + count / self.bytes_per_second
        while (left := begins - time.monotonic()) > 0 and not signal_waits():
            time.sleep(min(left, TICK))

    def readers(self, most: int) -> int:
        """How many readers of one source are useful, each of which reads up to CHUNK at once."""
        return max(1, min(most, int(self.bytes_per_second * QUEUE_SECONDS / CHUNK)))


class LimitedSource:
    """A `converter.Source`: another one, read no faster than a rate, and by few at a low one."""

    def __init__(self, source: Source, rate: Rate) -> None:
        self.name = source.name
        self.size = source.size
        self.format = source.format
        self.sizes = source.sizes
        self.features = source.features
        self.identity = source.identity
        self.status = source.status
        self._source = source
        self._rate = rate

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """See `converter.Source`."""
        return self._source.extents(start)

    @property
    def readers(self) -> int:
        """See `converter.Source`."""
        return self._rate.readers(self._source.readers)

    def reader(self) -> Reader:
        """See `converter.Source`."""
        return _LimitedReader(self._source.reader(), self._rate)

    def check_unchanged(self) -> None:
        """See `converter.Source`."""
        self._source.check_unchanged()


class _LimitedReader:
    """A `converter.Reader`."""

    def __init__(self, reader: Reader, rate: Rate) -> None:
        self._reader = reader
        self._rate = rate

    def read(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        """See `converter.Reader`."""
        self._rate.take(sum(extent.length for extent in extents))
        self._reader.read(extents, view, start)

    def close(self) -> None:
        """See `converter.Reader`."""
        self._reader.close()
