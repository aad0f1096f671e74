"""What threads make in any order is put in order, without one waiting for the other."""

import threading
from collections.abc import Callable
from typing import NamedTuple

import xxhash

from backup.streams.pipes import Going
from converter.buffers import buffer
from converter.engine.chunks import Chunk

MOST = 8 << 20  # bytes that wait for those before them; one thread's more
MOST_WAITING = 16  # runs of frames, each of which keeps its room
WAIT = 0.2  # seconds between two questions whether to go on


class Packed(NamedTuple):
    """Frames, their digests, and the room that the frames are in, if they are in one."""

    frames: memoryview | bytes
    digests: bytes
    room: memoryview | None = None


Write = Callable[[Chunk, Packed], None]


class Rooms:
    """Memory for frames, each room for one at a time; safe for threads.

    There are never more than were in use at once.

    Args:
        size: of each, bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._spare: list[memoryview] = []

    def take(self) -> memoryview:
        """A room, whose content is of no use."""
        try:
            return self._spare.pop()
        except IndexError:
            return buffer(self._size)

    def give_back(self, room: memoryview) -> None:
        """Takes a room whose frames are written."""
        self._spare.append(room)


class InOrder:
    """Takes frames with their numbers, which begin at 0; any number of threads may give them.

    Args:
        write: takes a chunk and its frames; called by one thread at a time.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._changed = threading.Condition()
        self._next = 0
        self._waiting: dict[int, tuple[Chunk, Packed]] = {}
        self._held = 0  # bytes

    def put(self, number: int, chunk: Chunk, packed: Packed, require_going: Going) -> None:
        """Writes frames and all that wait for them, or lets them wait for those before them."""
        with self._changed:
            while number != self._next and self._is_full():
                self._changed.wait(WAIT)
                require_going()
            if number != self._next:
                self._waiting[number] = chunk, packed
                self._held += len(packed.frames)
                return
        self._write(chunk, packed)
        while (found := self._following()) is not None:
            self._write(*found)

    def _is_full(self) -> bool:
        return self._held >= MOST or len(self._waiting) >= MOST_WAITING

    def _following(self) -> tuple[Chunk, Packed] | None:
        """What comes next, if it waits; the thread that gives it later writes it otherwise."""
        with self._changed:
            self._next += 1
            self._changed.notify_all()
            found = self._waiting.pop(self._next, None)
            if found is not None:
                self._held -= len(found[1].frames)
            return found


class DigestInOrder:
    """A digest over the digests of frames, which any number of threads give with their numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digest = xxhash.xxh3_128()
        self._next = 0
        self._waiting: dict[int, bytes] = {}  # for those of the slowest thread

    def put(self, number: int, digests: bytes) -> None:
        """Adds digests once all those before them are there."""
        with self._lock:
            self._waiting[number] = digests
            while (found := self._waiting.pop(self._next, None)) is not None:
                self._digest.update(found)
                self._next += 1

    def hexdigest(self) -> str:
        """The digest; all must have been put."""
        with self._lock:
            return str(self._digest.hexdigest())
