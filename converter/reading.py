"""The type of functions that read a disk or file, and a window that reads only a part of it."""

from collections.abc import Callable
from typing import NamedTuple

# Read(offset, length) returns `length` bytes of a disk or file; the range must lie within it.
Read = Callable[[int, int], bytes]


class Window(NamedTuple):
    """`length` bytes of a disk from `start` on."""

    read: Read
    start: int
    length: int

    def at(self, offset: int, length: int) -> bytes:
        """Bytes of the window; `offset` counts from its start, and outside of it all is zero.

        Raises:
            ValueError: `read` returned fewer bytes than asked for.
        """
        first, last = max(offset, 0), min(offset + length, self.length)
        if first >= last:
            return bytes(length)
        found = self.read(self.start + first, last - first)
        if len(found) != last - first:
            raise ValueError(
                f"{len(found)} bytes instead of {last - first} at {self.start + first}"
            )
        return bytes(first - offset) + found + bytes(offset + length - last)
