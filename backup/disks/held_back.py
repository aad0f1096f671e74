"""The disk that an import writes: its ends are written last, so that nothing looks whole before."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from backup.streams.stream import StreamError
from converter.buffers import PAGE, buffer, equal, is_zero
from converter.contents import gpt
from converter.extents import Extent
from converter.target.device import Target
from converter.target.zeroing import Zeroer
from installer.disks.blank import both_ends
from node.errors import KitError
from node.log import log

EDGE = 1 << 20  # bytes held back: tables, and superblocks of a file system without any
_WRITERS = 8  # at once


class HeldBack:
    """A target of an import; its first MiB, and the last one of the disk, are kept in memory.

    Args:
        target: open, for us alone.
        size: of the disk that the stream holds, bytes; the target may be smaller or larger.
    """

    def __init__(self, target: Target, size: int) -> None:
        self._target = target
        self._zeroer = Zeroer(target)
        self._size = size
        self._few = threading.Semaphore(_WRITERS)
        self._head = buffer(min(EDGE, size, target.size))
        start = max(size - EDGE, 0)
        self._tail_start = max(len(self._head), start - start % PAGE)
        self._tail = buffer(max(1, size - self._tail_start))[: max(0, size - self._tail_start)]
        self._later: list[tuple[int, memoryview]] = []  # of a GPT, between and behind the ends
        self.ends_begun = False
        self._verified = False

    def wipe(self) -> None:
        """Takes away what tells of earlier content at both ends, on the disk itself."""
        for start, end in both_ends(0, self._target.size):
            self._zeroer.zero(start, end - start)
        self._target.sync()

    def data(self, start: int, view: memoryview) -> None:
        """Takes a piece of the disk, a writable view; it begins at a multiple of PAGE."""
        end = start + len(view)
        self._patch(start, view)
        first = max(start, len(self._head))
        last = min(end, self._tail_start, self._target.size)
        if first < last:
            piece = view[first - start : last - start]
            if is_zero(piece):
                self._zeroer.zero(first, last - first)
            else:
                with self._few:
                    self._target.write(piece, first)
        beyond = max(start, self._target.size)
        upto = min(end, self._tail_start)
        if beyond < upto and not is_zero(view[beyond - start : upto - start]):
            raise StreamError("its header states a smaller size than its content has")

    def zeros(self, start: int, length: int) -> None:
        """Takes zeros."""
        first = max(start, len(self._head))
        last = min(start + length, self._tail_start, self._target.size)
        if first < last:
            self._zeroer.zero(first, last - first)

    def complete(self) -> None:
        """Writes all but the head: what belongs behind the content, and a GPT's new places.

        Raises:
            KitError: it cannot be written, or a GPT cannot be made right on this target.
            StreamError: something on the disk does not fit onto the target.
        """
        self.ends_begun = True
        moved = self._moved()
        if self._target.size > self._size:
            self._zeroer.zero(self._size, self._target.size - self._size)
        fits = max(0, self._target.size - self._tail_start)
        if not moved and not is_zero(self._tail[fits:]):
            raise StreamError("its header states a smaller size than its content has")
        for extent in moved:
            self._put(extent)
        if fits and len(self._tail):
            self._target.write(self._tail[:fits], self._tail_start)
        for place, content in self._later:
            self._target.write(content, place)
        self._target.sync()

    def finish(self) -> None:
        """Writes the head, and reads both ends back from the disk.

        Raises:
            KitError: it cannot be written, or is not there afterwards.
        """
        self._target.write(self._head, 0)
        self._target.sync()
        self._target.forget_cached()
        fits = self._tail[: max(0, self._target.size - self._tail_start)]
        for start, view in ((0, self._head), (self._tail_start, fits)):
            held = buffer(len(view)) if len(view) else view
            self._target.read_into(held, start)
            if not equal(held, view):
                raise KitError(
                    f"disk {self._target.name}: what was read back from byte {start} on is not what"
                    " was written",
                    hint="its device or the path to it is faulty: see dmesg, and use another",
                )
        self._target.require_in_place()
        self._verified = True

    @property
    def head(self) -> bytes:
        """The first MiB, as it is to be."""
        return self._head.tobytes()

    def leave(self) -> None:
        """Leaves a whole disk as it is, also where what follows fails."""
        self.ends_begun = False

    def spoil(self) -> None:
        """Makes the ends zero again, as far as that can be done."""
        spoil(self._target, only_head=self._verified)

    def _read(self, offset: int, length: int) -> bytes:
        """What the disk holds: its ends from memory."""
        view = buffer(max(1, length))[:length]
        if offset + length <= self._target.size:
            self._target.read_into(view, offset)
        for start, held in self._held():
            first, last = max(offset, start), min(offset + length, start + len(held))
            if first < last:
                view[first - offset : last - offset] = held[first - start : last - start]
        return view.tobytes()

    def _moved(self) -> tuple[Extent, ...]:
        """What a GPT needs on a target of another size."""
        if self._size == self._target.size:
            return ()
        repair = gpt.repaired(self._read, self._size, self._target.size)
        if repair is None:
            return ()
        if not repair.extents and self._target.size < self._size:
            raise KitError(
                f"disk {self._target.name}: {repair.why}, and it needs a place on a smaller disk",
                hint=f"import onto a disk of at least {self._size} bytes",
            )
        log.info("%s", repair.why)
        return repair.extents

    def _put(self, extent: Extent) -> None:
        """Puts an extent into what is held back, and the rest of it onto the target, later."""
        content = buffer(extent.length)
        content[:] = extent.literal or bytes(extent.length)
        self._patch(extent.guest_offset, content)
        first, last = max(extent.guest_offset, len(self._head)), min(extent.end, self._target.size)
        for start, end in ((first, min(last, self._tail_start)), (max(first, self._size), last)):
            if start < end:
                base = extent.guest_offset
                self._later.append((start, content[start - base : end - base]))

    def _patch(self, start: int, view: memoryview) -> None:
        """Takes what of some bytes belongs into the ends."""
        end = start + len(view)
        for place, held in self._held():
            first, last = max(start, place), min(end, place + len(held))
            if first < last:
                held[first - place : last - place] = view[first - start : last - start]

    def _held(self) -> tuple[tuple[int, memoryview], ...]:
        return (0, self._head), (self._tail_start, self._tail)


def spoil(target: Target, *, only_head: bool = False) -> None:
    """Makes the ends of a target zero, as far as that can be done.

    Args:
        target: open, for us alone.
        only_head: of a disk that is whole: who puts that back has all of it.
    """
    length = min(EDGE, target.size)
    for place in (0,) if only_head else (0, target.size - length):
        with suppress(KitError):
            target.write(buffer(length), place)
    with suppress(KitError):
        target.sync()


@contextmanager
def held_back(target: Target, size: int) -> Iterator[HeldBack]:
    """A target whose ends are zeros until `finish`, and again where what follows fails."""
    held = HeldBack(target, size)
    held.wipe()
    try:
        yield held
    except BaseException:
        if held.ends_begun:
            held.spoil()
        raise
