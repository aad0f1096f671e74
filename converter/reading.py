"""How a disk or file is read, and a part of it that is read as if it were a disk of its own."""

from collections.abc import Callable
from typing import NamedTuple

# Gives `length` bytes of a disk or file from `offset` on; only asked for what is inside of it.
Read = Callable[[int, int], bytes]


class Window(NamedTuple):
    """`length` bytes of a disk from `start` on."""

    read: Read
    start: int
    length: int

    def at(self, offset: int, length: int) -> bytes:
        """Bytes of the part, counted from its start; outside of it all is zero.

        Raises:
            ValueError: what reads the disk gave fewer bytes than asked for.
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
