"""Makes ranges of a target zero, the cheapest way that is proven on it."""

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
BLOCK = 64 << 10  # of a chunk that is not zero: the unit in which it is looked at
PUNCH = 128 << 20  # bytes of one call: in between, signals are handled
# linux/falloc.h, linux/fs.h
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 0x01, 0x02
BLKDISCARD = 0x1277

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Strategy(StrEnum):
    """How ranges become zero.

    SKIP: they are zero, since nothing was ever written there: nothing is done.
    PUNCH: fallocate(2) with PUNCH_HOLE. On a file that is exact. On a block device it is a
        request to write zeroes that may unmap (blkdev_fallocate() of Linux), which fails where the
        device has none, and does not fall back to discarding.
    DISCARD: BLKDISCARD, of which Linux says nothing of what is read afterwards; so then as READ.
        For thin volumes: their pool gets the space back.
    READ: what is read as zero is left alone, all else is overwritten.
    WRITE: zeros are written. Where a later write may bring up old bytes beside it, nothing less
        will do (thin pools that do not zero new blocks).
    """

    SKIP = "skip"
    PUNCH = "punch"
    DISCARD = "discard"
    READ = "read-and-skip"
    WRITE = "write"


def first_strategy(
    volume: lvm.LogicalVolume | None, *, created: bool, known_zero: bool
) -> Strategy:
    """The strategy to begin with.

    Args:
        volume: of LVM, if the target is one.
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
    """Makes ranges of one target zero; any number of threads may.

    PUNCH and DISCARD give way to READ as soon as the device does not take them, and PUNCH also if
    a page that was written and punched does not read back as zeros.

    Args:
        target: the target.

    Raises:
        KitError: the target is a logical volume, and LVM does not say of what kind.
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
        """Whether all ranges were zero, or made zero, without being read or written by us."""
        return self.strategy in (Strategy.SKIP, Strategy.PUNCH)

    def report(self) -> Zeroing:
        """The strategy that was used last, and how many bytes went which way."""
        return Zeroing(self.strategy.value, self.skipped, self.zeroed, self.written)

    def zero(self, start: int, length: int) -> None:
        """Makes `length` bytes from `start` on zero.

        Raises:
            KitError: the target cannot be read or written; the byte is named.
        """
        if self.strategy is Strategy.SKIP:
            self._count(skipped=length)
            return
        self._target.begin()
        end = start + length
        # Within a page, devices are only written; neighbours in it stay as they are.
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
        """Whether punching zeroes: shown once, on a page that is to become zero anyway."""
        with self._lock:
            if not self._proven and self._punch(place, place + PAGE):
                page = buffer(PAGE)
                page[:] = b"\xa5" * PAGE
                self._target.write(page, place)
                # What the page cache holds would be dropped without ever having been on the disk.
                os.fdatasync(self._target.fd)
                if self._punch(place, place + PAGE):
                    self._target.read_into(page, place)
                    self._proven = is_zero(page)
            return self._proven

    def _punch(self, start: int, end: int) -> bool:
        mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        # Any failure leads to reading and writing, which tell of a disk that fails.
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
        """Memory of this thread, to read into."""
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
