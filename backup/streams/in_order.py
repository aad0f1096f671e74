"""What threads make in any order is written in order, without one waiting for the other."""

import threading
from collections.abc import Callable

from backup.streams.pipes import Going
from converter.engine.chunks import Chunk

MOST = 8 << 20  # bytes that wait for those before them; one thread's more
WAIT = 0.2  # seconds between two questions whether to go on

Write = Callable[[Chunk, memoryview | bytes, bytes], None]


class InOrder:
    """Takes frames with their numbers, which begin at 0; any number of threads may give them.

    Args:
        write: takes a chunk, its frames and their digests; called by one thread at a time.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._changed = threading.Condition()
        self._next = 0
        self._waiting: dict[int, tuple[Chunk, bytes, bytes]] = {}
        self._held = 0  # bytes

    def put(
        self,
        number: int,
        chunk: Chunk,
        packed: memoryview | bytes,
        digests: bytes,
        require_going: Going,
    ) -> None:
        """Writes frames and all that wait for them, or lets them wait for those before them."""
        with self._changed:
            while number != self._next and self._held >= MOST:
                self._changed.wait(WAIT)
                require_going()
            if number != self._next:
                self._waiting[number] = chunk, bytes(packed), digests
                self._held += len(packed)
                return
        self._write(chunk, packed, digests)
        while (found := self._following()) is not None:
            self._write(*found)

    def _following(self) -> tuple[Chunk, bytes, bytes] | None:
        """What comes next, if it waits; the thread that gives it later writes it otherwise."""
        with self._changed:
            self._next += 1
            self._changed.notify_all()
            found = self._waiting.pop(self._next, None)
            if found is not None:
                self._held -= len(found[1])
            return found
