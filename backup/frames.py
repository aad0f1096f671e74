"""Reads a stream from a pipe or file, frame by frame, in order."""

import os
from typing import NamedTuple

from backup import stream
from backup.stream import StreamError
from converter.buffers import buffer
from node.errors import KitError

_BLOCK_HEADER = 3  # bytes
_CHECKSUM = 4


# Room for a frame, bytes: as ZSTD_compressBound() counts it (zstd.h), and what is read ahead of it.
ROOM = stream.FRAME_SIZE + (stream.FRAME_SIZE >> 8) + (64 << 10)


class Frame(NamedTuple):
    """A whole frame of content in a buffer of its reader."""

    content: int  # bytes of the disk in it, as its header states
    view: memoryview  # the frame


class Frames:
    """The frames of a stream; never more than one frame is read ahead of what is asked for.

    Nothing that comes from outside makes it take more memory than the largest frame that the kit
    writes.

    Args:
        fd: of the stream.
        name: what errors call it.
        begun: what was read of it already.
    """

    def __init__(self, fd: int, name: str, begun: bytes = b"") -> None:
        self._fd = fd
        self._name = name
        self._pending = begun
        self.read_bytes = 0  # of the stream, so far

    def next(self, room: memoryview) -> Frame | bytes:
        """The next frame: of content, in `room`, or the payload of a skippable one.

        Args:
            room: where a frame of content goes; ROOM bytes.

        Raises:
            StreamError: it is damaged, or ends there.
            KitError: it cannot be read.
        """
        head = self._some(stream.NEEDED)
        found = stream.piece(head)
        if found.skippable:
            if found.payload > stream.END_SIZE + stream.MAX_HEADER:
                raise StreamError("a frame in it is larger than any that this kit writes")
            self._pending = head[found.header :] + self._pending
            self.read_bytes -= len(head) - found.header
            payload = self._some(found.payload)
            if len(payload) < found.payload:
                raise StreamError("it ends within a frame")
            return payload
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
        self._pending = bytes(room[at:place]) + self._pending
        self.read_bytes -= place - at
        return Frame(found.payload, room[:at])

    def require_nothing_behind(self) -> None:
        """Raises StreamError unless the stream ends here."""
        if self._some(1):
            raise StreamError("there are bytes behind its end")

    def _filled(self, room: memoryview, place: int, upto: int) -> int:
        """Reads until `room` holds `upto` bytes; returns how many it holds."""
        if upto > len(room):
            raise StreamError("a frame in it is larger than any that this kit writes")
        while place < upto:
            if self._pending:
                taken = self._pending[: upto - place]
                self._pending = self._pending[len(taken) :]
                room[place : place + len(taken)] = taken
                count = len(taken)
            else:
                count = self._read_into(room[place:upto])
            if not count:
                raise StreamError("it ends within a frame")
            place += count
            self.read_bytes += count
        return place

    def _some(self, length: int) -> bytes:
        """So many bytes, or less at the end."""
        found = bytearray()
        view = buffer(length) if length > len(self._pending) else memoryview(b"")
        while len(found) < length:
            if self._pending:
                taken = self._pending[: length - len(found)]
                self._pending = self._pending[len(taken) :]
                found += taken
                continue
            count = self._read_into(view[: length - len(found)])
            if not count:
                break
            found += view[:count]
        self.read_bytes += len(found)
        return bytes(found)

    def _read_into(self, view: memoryview) -> int:
        try:
            return os.readv(self._fd, [view])
        except OSError as error:
            raise KitError(
                f"read of {self._name}: {error.strerror}",
                hint="dmesg tells what became of its disk; df, whether there is room",
            ) from error
