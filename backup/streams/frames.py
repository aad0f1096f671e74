"""Reads a stream from a pipe or file, frame by frame, in order."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from backup.errors import StreamUnreadableError
from backup.streams import stream
from backup.streams.pipes import READ_PIPE, Going, enlarge, readable
from backup.streams.stream import Piece, StreamError

_BLOCK_HEADER = 3  # bytes
_CHECKSUM = 4


# Bytes that are read beyond what is needed, at most: a read for each block would cost more than
# its decompression, and frames of zeros are small.
AHEAD = 256 << 10
# Room for a frame, bytes: as ZSTD_compressBound() counts it (zstd.h), and what is read ahead of it.
ROOM = stream.FRAME_SIZE + (stream.FRAME_SIZE >> 8) + (64 << 10) + AHEAD


class Frame(NamedTuple):
    """A whole frame of content in a buffer of its reader."""

    content: int  # bytes of the disk in it, as its header states
    view: memoryview  # the frame


class Frames:
    """The frames of a stream; never more than AHEAD bytes are read before they are asked for.

    Nothing that comes from outside makes it take more memory than the largest frame that the kit
    writes.

    Args:
        fd: of the stream.
        name: what errors call it.
    """

    def __init__(self, fd: int, name: str) -> None:
        enlarge(fd, READ_PIPE)
        self._fd = fd
        self._require_going: Going = lambda: None
        self._name = name
        self._buffer = b""
        self._at = 0  # of the buffer, what was taken
        self._scratch = memoryview(bytearray(AHEAD))
        self.read_bytes = 0  # of the stream, so far

    @contextmanager
    def ended_by(self, require_going: Going) -> Iterator[None]:
        """Inside, waiting for the stream ends where `require_going` raises."""
        self._require_going = require_going
        try:
            yield
        finally:
            self._require_going = lambda: None

    def status(self) -> os.stat_result:
        """Of the pipe or file."""
        return os.fstat(self._fd)

    def fill(self, view: memoryview) -> int:
        """Reads so many bytes, or less at the end of the stream; returns how many."""
        place = 0
        while place < len(view):
            count = self._into(view[place:])
            if not count:
                break
            place += count
        self.read_bytes += place
        return place

    def _push_back(self, data: bytes) -> None:
        """Takes what was read last as not read."""
        self._buffer = data + self._buffer[self._at :]
        self._at = 0
        self.read_bytes -= len(data)

    def peek(self, length: int) -> bytes:
        """What comes next, so many bytes, or less at the end; it stays to be read."""
        found = self._some(length)
        self._push_back(found)
        return found

    def take(self, expected: bytes) -> bool:
        """Reads these bytes if they come next, else nothing."""
        while len(self._buffer) - self._at < len(expected):
            count = self._read_into(self._scratch)
            if not count:
                return False
            self._buffer = self._buffer[self._at :] + self._scratch[:count]
            self._at = 0
        if not self._buffer.startswith(expected, self._at):
            return False
        self._at += len(expected)
        self.read_bytes += len(expected)
        return True

    def next(self, room: memoryview) -> Frame | bytes:
        """The next frame: of content, in `room`, or the payload of a skippable one.

        Args:
            room: where a frame of content goes; ROOM bytes.

        Raises:
            StreamError: it is damaged, or ends there.
            StreamUnreadableError: it cannot be read.
        """
        head = self._some(stream.NEEDED)
        found = stream.piece(head)
        if found.skippable:
            return self._payload(head, found)
        if found.payload > stream.FRAME_SIZE or not found.checksum:
            raise StreamError("a frame in it is none that this kit writes")
        place = len(head)
        room[:place] = head
        # What was read ahead of the first block may hold its header.
        at, last = found.header, False
        while not last:
            place = self._filled(room, place, at + _BLOCK_HEADER)
            length, last = stream.block(bytes(room[at : at + _BLOCK_HEADER]))
            at += _BLOCK_HEADER + length
            place = self._filled(room, place, at)
        place = self._filled(room, place, at + _CHECKSUM)
        at += _CHECKSUM
        self._push_back(bytes(room[at:place]))
        return Frame(found.payload, room[:at])

    def next_skippable(self) -> bytes | None:
        """The payload of the next frame; None if that is of content, which stays to be read.

        Raises:
            StreamError: it is damaged, or ends there.
        """
        head = self._some(stream.NEEDED)
        found = stream.piece(head)
        if found.skippable:
            return self._payload(head, found)
        self._push_back(head)
        return None

    def peek_skippable(self) -> bytes | None:
        """As `next_skippable`, but the frame stays to be read in any case."""
        head = self.peek(stream.NEEDED)
        payload = self.next_skippable()
        if payload is not None:
            self._push_back(head[: stream.piece(head).header] + payload)
        return payload

    def _payload(self, head: bytes, found: Piece) -> bytes:
        """Of a skippable frame of which only the first bytes, `head`, have been read."""
        if found.payload > stream.END_SIZE + stream.MAX_HEADER:
            raise StreamError("a frame in it is larger than any that this kit writes")
        self._push_back(head[found.header :])
        payload = self._some(found.payload)
        if len(payload) < found.payload:
            raise StreamError("it ends within a frame")
        return payload

    def require_nothing_behind(self) -> None:
        """Raises StreamError unless the stream ends here."""
        if self._some(1):
            raise StreamError("there are bytes behind its end")

    def _filled(self, room: memoryview, place: int, upto: int) -> int:
        """Reads until `room` holds `upto` bytes, or up to AHEAD more; returns how many it has."""
        if upto + AHEAD > len(room):
            raise StreamError("a frame in it is larger than any that this kit writes")
        while place < upto:
            is_held = self._at < len(self._buffer)
            count = self._into(room[place : upto if is_held else upto + AHEAD])
            if not count:
                raise StreamError("it ends within a frame")
            place += count
            self.read_bytes += count
        return place

    def _some(self, length: int) -> bytes:
        """So many bytes, or less at the end."""
        view = memoryview(bytearray(length))
        return bytes(view[: self.fill(view)])

    def _into(self, view: memoryview) -> int:
        """Reads some bytes; 0 at the end."""
        if self._at == len(self._buffer):
            if len(view) >= AHEAD:
                return self._read_into(view)
            self._buffer = bytes(self._scratch[: self._read_into(self._scratch)])
            self._at = 0
        taken = self._buffer[self._at : self._at + len(view)]
        self._at += len(taken)
        view[: len(taken)] = taken
        return len(taken)

    def _read_into(self, view: memoryview) -> int:
        readable(self._fd, self._require_going)
        try:
            return os.readv(self._fd, [view])
        except OSError as error:
            raise StreamUnreadableError(
                f"read of {self._name}: {error.strerror}",
                hint="see dmesg for errors of its disk, and df for free space",
            ) from error
