"""Threads that read a stream; each reads a frame, in turn, and then works on it."""

from collections.abc import Iterator
from threading import local
from typing import Protocol

from backup.disks.content import ZERO_FRAMES
from backup.export import Zeros, digest, worker_count
from backup.streams import stream
from backup.streams.frames import ROOM, Frame, Frames
from backup.streams.in_order import DigestInOrder
from backup.streams.stream import FRAME_SIZE, Header, StreamError, Trailer
from converter.buffers import buffer
from converter.engine.chunks import Chunk
from converter.engine.pool import Pool
from converter.progress import Progress
from node.zstd import Decompressor, ZstdError


class Restorer(Protocol):
    """A kind of stream: how it is read, and what becomes of a piece of it."""

    def chunks(self) -> Iterator[Chunk]:
        """Reads one piece after the other, into memory of the thread that asks for it."""

    def restore(self, chunk: Chunk, number: int, /) -> None:
        """Writes what the calling thread has read."""


class Sink(Protocol):
    """What takes the content of a disk, from any thread: `HeldBack`, a spool file, or nothing."""

    def data(self, start: int, view: memoryview, /) -> None:
        """Takes a piece of the disk, a writable view; it begins at a multiple of PAGE."""

    def zeros(self, start: int, length: int, /) -> None:
        """Takes zeros."""


def read_header(frames: Frames) -> Header:
    """Reads what stands first in a stream of the kit.

    Raises:
        StreamError: it is no header, or damaged.
    """
    return header(frames.next_skippable())


def header(payload: bytes | None) -> Header:
    """The header in the first frame's payload; None: that is no skippable frame.

    Raises:
        StreamError: it is no header, or damaged.
    """
    if payload is None:
        raise StreamError("it has no header")
    return stream.decode_header(payload)


def require_end(frames: Frames) -> None:
    """Reads what stands last in a stream of the kit.

    Raises:
        StreamError: it is damaged, or there is more.
    """
    for number in range(stream.END_FRAMES):
        last = frames.next_skippable()
        if last is None:
            raise StreamError("there is a frame behind its trailer")
        stream.require_end(last, number)
    frames.require_nothing_behind()


def run(restorer: Restorer, frames: Frames, progress: Progress, phase: str, size: int) -> None:
    """Reads a disk of `size` bytes.

    Args:
        restorer: for this kind of stream.
        frames: the stream.
        progress: is told of it.
        phase: what progress calls it.
        size: bytes of the disk.

    Raises:
        StreamError: the stream is damaged.
        KitError: it cannot be read, or the disk not be written.
    """
    pool = Pool(restorer.chunks(), 0)
    workers = [_Worker(restorer) for _ in range(worker_count())]
    progress.begin(phase, size)
    with frames.ended_by(pool.require_going):
        try:
            pool.run(workers, lambda: progress.update(pool.low_watermark()))
        finally:
            progress.end()


class _Worker:
    """One thread of an import."""

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer

    def work(self, chunk: Chunk, number: int) -> None:
        """Writes one piece."""
        self._restorer.restore(chunk, number)


class _Own(local):
    """What each thread has: a frame as it was read, and its content."""

    def __init__(self) -> None:
        self.room = buffer(ROOM)
        self.frame: memoryview | None = None  # None: a run of frames of zeros
        self.content = buffer(FRAME_SIZE)
        self.decompressor = Decompressor()


class StreamRestorer:
    """Of a stream of the kit: its frames up to the trailer."""

    def __init__(self, frames: Frames, header: Header, sink: Sink) -> None:
        self._frames = frames
        self._header = header
        self._sink = sink
        self._own = _Own()
        self._zeros = Zeros()
        self._digest = DigestInOrder()
        self._compressed = 0
        self._trailer: Trailer | None = None

    def chunks(self) -> Iterator[Chunk]:
        """Reads one frame after the other; ends with the trailer."""
        place, size = 0, self._header.disk_size
        while True:
            before = self._frames.read_bytes
            if end := self._zeros_from(place):
                self._compressed += self._frames.read_bytes - before
                self._own.frame = None
                yield Chunk(place, end, ())
                place = end
                continue
            found = self._frames.next(self._own.room)
            if not isinstance(found, Frame):
                self._trailer = stream.decode_trailer(found)
                if place < size:
                    raise StreamError(f"it has {place} bytes of a disk of {size} bytes")
                return
            if found.content != min(self._header.frame_size, size - place) or not found.content:
                raise StreamError(f"a frame of {found.content} bytes is not where one belongs")
            self._compressed += self._frames.read_bytes - before
            self._own.frame = found.view
            yield Chunk(place, place + found.content, ())
            place += found.content

    def _zeros_from(self, place: int) -> int | None:
        """Reads frames of zeros from a place on, as many as come; returns where they end."""
        end = place
        if self._header.frame_size == FRAME_SIZE:
            upto = min(self._header.disk_size, place + ZERO_FRAMES * FRAME_SIZE)
            while end + FRAME_SIZE <= upto and self._frames.take(self._zeros.whole):
                end += FRAME_SIZE
        return end if end > place else None

    def restore(self, chunk: Chunk, number: int, /) -> None:
        """Writes a frame's content, or zeros."""
        frame, view = self._own.frame, self._own.content[: chunk.length]
        if frame is None:
            found = self._zeros.digests(chunk.length)
        else:
            try:
                self._own.decompressor.decompress(frame, view)
            except ZstdError as error:
                raise StreamError(f"a frame in it is damaged: {error}") from error
            found = digest(view)
        self._digest.put(number, found)
        if frame is None:
            self._sink.zeros(chunk.start, chunk.length)
        else:
            self._sink.data(chunk.start, view)

    def require_whole(self) -> None:
        """Compares all that was read with the trailer.

        Raises:
            StreamError: it is not the same.
        """
        found = Trailer(
            frames=self._header.frames,
            disk_size=self._header.disk_size,
            compressed=self._compressed,
            digest=self._digest.hexdigest(),
            header=self._header.digest,
        )
        if found != self._trailer:
            raise StreamError("its header or content is not what its trailer says")


class RawRestorer:
    """Of a raw disk: pieces of FRAME_SIZE up to its end, which nothing but the pipe's end tells."""

    def __init__(self, frames: Frames, size: int, sink: Sink) -> None:
        self._frames = frames
        self._size = size  # of the target
        self._sink = sink
        self._own = _Own()
        self.end = 0  # bytes of the disk that have come

    def chunks(self) -> Iterator[Chunk]:
        """Reads pieces until the stream ends."""
        while count := self._frames.fill(self._own.content):
            start, self.end = self.end, self.end + count
            if self.end > self._size:
                raise StreamError(f"it is larger than the disk of {self._size} bytes")
            yield Chunk(start, self.end, ())

    def require_whole(self, needed: int) -> None:
        """Raises StreamError if fewer bytes have come than the disk has."""
        if self.end < needed:
            raise StreamError(f"it ends after {self.end} bytes of a disk of {needed} bytes")

    def restore(self, chunk: Chunk, _number: int, /) -> None:
        """Writes a piece."""
        self._sink.data(chunk.start, self._own.content[: chunk.length])
