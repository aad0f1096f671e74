"""Makes ranges of a target zero, by the cheapest method verified on this device."""

import ctypes
import fcntl
import os
import struct
import threading
from enum import StrEnum

from converter.buffers import PAGE, buffer, is_zero
from converter.results import Zeroing
from converter.target.device import Target
from node.devices import lvm

PIECE = 4 << 20  # bytes read at once
BLOCK = 64 << 10  # bytes: a piece that is not all zero is checked and written in such blocks
PUNCH = 128 << 20  # bytes of one call: signals are handled between calls
# linux/falloc.h, linux/fs.h
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 0x01, 0x02
BLKDISCARD = 0x1277

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Strategy(StrEnum):
    """The methods of making ranges zero.

    SKIP: do nothing: they are zero, since nothing was ever written there.
    PUNCH: fallocate(2) with PUNCH_HOLE. On a file that is exact. On a block device it is a
        request to write zeroes that may unmap (blkdev_fallocate() of Linux). It fails if the
        device does not support that, and does not fall back to a discard.
    DISCARD: BLKDISCARD, then as READ, since Linux does not guarantee that the range reads as zeros.
        For thin volumes: their pool gets the space back.
    READ: read, and overwrite only what is not zero.
    WRITE: write zeros. Needed for thin pools that do not zero new blocks: a later write may make
        old bytes beside it visible.
    """

    SKIP = "skip"
    PUNCH = "punch"
    DISCARD = "discard"
    READ = "read-and-skip"
    WRITE = "write"


def first_strategy(
    volume: lvm.LogicalVolume | None, *, created: bool, known_zero: bool
) -> Strategy:
    """The strategy to start with.

    Args:
        volume: the logical volume, if the target is one.
        created: whether the target is a new file.
        known_zero: whether nothing was ever written to the volume.
    """
    if created:
        return Strategy.SKIP
    if volume is None or not volume.pool:
        return Strategy.PUNCH
    if not volume.zeroes_new_blocks:
        return Strategy.WRITE
    return Strategy.SKIP if known_zero else Strategy.DISCARD


class Zeroer:
    """Makes ranges of one target zero; safe for threads.

    It changes from PUNCH or DISCARD to READ when the device refuses the request, and from PUNCH
    also if a page that was written and then punched does not read back as zeros.

    Args:
        target: the target.

    Raises:
        KitError: the target is a logical volume, and LVM's tools fail.
    """

    def __init__(self, target: Target) -> None:
        facts = target.facts
        self.strategy = first_strategy(
            facts.volume, created=target.created, known_zero=facts.is_new
        )
        self.skipped = 0  # bytes that were zero already
        self.zeroed = 0  # bytes made zero without being written
        self.written = 0  # bytes of zeros written
        self._target = target
        self._lock = threading.Lock()
        self._proven = False
        self._own = threading.local()
        self._zeros = buffer(PIECE)

    @property
    def trusted(self) -> bool:
        """Whether the zeros rely on the device alone: nothing was read or written for them."""
        return self.strategy in (Strategy.SKIP, Strategy.PUNCH)

    def report(self) -> Zeroing:
        """The strategy that was used last, and the bytes by method."""
        return Zeroing(self.strategy.value, self.skipped, self.zeroed, self.written)

    def zero(self, start: int, length: int) -> None:
        """Makes `length` bytes from `start` on zero.

        Raises:
            KitError: the target cannot be read or written; the message names the byte.
        """
        if self.strategy is Strategy.SKIP:
            self._count(skipped=length)
            return
        self._target.begin()
        end = start + length
        # Parts of a page are always written, so that the rest of the page stays unchanged.
        first, last = min(-(-start // PAGE) * PAGE, end), max(end // PAGE * PAGE, start)
        if first >= last:
            self._write(start, end)
            return
        self._write(start, first)
        for place in range(first, last, PUNCH):
            self._zero_pages(place, min(place + PUNCH, last))
        self._write(last, end)

    def _zero_pages(self, start: int, end: int) -> None:
        if self.strategy is Strategy.PUNCH:
            if self._is_proven(start) and self._punch(start, end):
                self._count(zeroed=end - start)
                return
            self.strategy = Strategy.READ
        if self.strategy is Strategy.DISCARD and not self._discard(start, end):
            self.strategy = Strategy.READ
        if self.strategy is Strategy.WRITE:
            self._write(start, end)
        else:
            self._read_and_skip(start, end)

    def _is_proven(self, place: int) -> bool:
        """Whether punching makes zeros; tested once, on a page that shall become zero anyway."""
        with self._lock:
            if not self._proven and self._punch(place, place + PAGE):
                page = buffer(PAGE)
                page[:] = b"\xa5" * PAGE
                self._target.write(page, place)
                # Without this, the page cache would drop the page before it was on the disk.
                os.fdatasync(self._target.fd)
                if self._punch(place, place + PAGE):
                    self._target.read_into(page, place)
                    self._proven = is_zero(page)
            return self._proven

    def _punch(self, start: int, end: int) -> bool:
        mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        # After any error we read and write instead, which reports a failing disk.
        try:
            with self._target.change(start, end - start):
                if _libc.fallocate(self._target.fd, mode, start, end - start) != 0:
                    raise OSError(ctypes.get_errno(), "fallocate")
        except OSError:
            return False
        return True

    def _discard(self, start: int, end: int) -> bool:
        try:
            with self._target.change(start, end - start):
                fcntl.ioctl(self._target.fd, BLKDISCARD, struct.pack("QQ", start, end - start))
        except OSError:
            return False
        return True

    def _read_and_skip(self, start: int, end: int) -> None:
        held = self._held()
        for place in range(start, end, PIECE):
            view = held[: min(PIECE, end - place)]
            self._target.read_into(view, place)
            if is_zero(view):
                self._count(skipped=len(view))
                continue
            for begin in range(0, len(view), BLOCK):
                block = view[begin : begin + BLOCK]
                if is_zero(block):
                    self._count(skipped=len(block))
                else:
                    self._write(place + begin, place + begin + len(block))

    def _held(self) -> memoryview:
        """This thread's own buffer for reads."""
        if not hasattr(self._own, "buffer"):
            self._own.buffer = buffer(PIECE)
        view: memoryview = self._own.buffer
        return view

    def _write(self, start: int, end: int) -> None:
        for place in range(start, end, PIECE):
            self._target.write(self._zeros[: min(PIECE, end - place)], place)
        self._count(written=end - start)

    def _count(self, *, skipped: int = 0, zeroed: int = 0, written: int = 0) -> None:
        with self._lock:
            self.skipped += skipped
            self.zeroed += zeroed
            self.written += written
