"""A disk becomes a stream."""

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice

import xxhash

from backup.disks.content import Plan, frames, planned
from backup.options import Origin
from backup.streams import stream
from backup.streams.in_order import InOrder, Packed, Rooms
from backup.streams.pipes import Going, Output
from backup.streams.stream import ENDS_SIZE, FRAME_SIZE, Trailer
from converter import paths
from converter.buffers import buffer, is_zero
from converter.engine.chunks import Chunk
from converter.engine.pool import Pool
from converter.extents import Kind
from converter.progress import Progress
from converter.sources.base import Reader
from converter.sources.image_file import LocalFile
from converter.sources.local import RawSource
from node import zstd
from node.devices.writers import writer
from node.errors import KitError
from node.log import log
from node.text import size
from node.zstd import Compressor

LEVEL = 1  # of zstd: it keeps up with disks
# A larger table and shorter matches than that level's: 3 % smaller for 7 % more time. Frames that
# know nothing of each other are else larger than one stream of zstd. The window holds a frame:
# moving a smaller one along takes 4 % of the time.
WINDOW_LOG, HASH_LOG, MIN_MATCH = 21, 15, 6
WORKERS = 8  # at most: each has two buffers of a frame
# Pieces of frames that tell how well the disk compresses, and the bytes of each.
SAMPLES, SAMPLE = 16, 256 << 10


def export(
    name: str,
    origin: Origin,
    output: Output,
    progress: Progress,
    expect: Callable[[int], None] | None = None,
) -> None:
    """Writes a disk's stream; the disk is only read.

    Args:
        name: the path of the disk: a block device or file.
        origin: whose disk it is.
        output: where the stream goes.
        progress: is told of it.
        expect: is told the size of the stream in bytes, roughly, before the first one is written.

    Raises:
        KitError: the disk is in use, cannot be read, or changed meanwhile; or nobody reads on.
    """
    with ExitStack() as stack:
        fd = stack.enter_context(paths.open_source_file(name, name))
        file = LocalFile(fd, name)
        stack.enter_context(closing(file.pages))
        source = RawSource(file)
        if not source.size:
            raise KitError(f"disk {name}: it has no bytes", hint="gnt-cluster verify-disks")
        plan = planned(source, fd, origin)
        left_out = sum(plan.header.left_out.values())
        log.info(
            "%s of %s, %s of free blocks and swap are left out",
            *(name, size(source.size), size(left_out)),
        )
        run = _Run(plan, output, progress)
        if expect is not None:
            expect(run.expected_size())
        run.write()
        source.check_unchanged()
        if user := writer(fd):
            raise KitError(
                f"disk {name}: it was written to while it was read: {user}",
                hint="stop the instance, or export a snapshot; then export again",
            )
        run.end()
        log.info("%s in all, %s of the disk", size(output.written), size(source.size))


class _Run:
    """One export: its frames in order, and what they add up to."""

    def __init__(self, plan: Plan, output: Output, progress: Progress) -> None:
        self._content = plan.content
        self._header = plan.header
        self._output = output
        self._progress = progress
        self.zeros = Zeros()
        self._rooms = Rooms(zstd.bound(FRAME_SIZE))
        self._digest = xxhash.xxh3_128()
        self._frames = 0
        self._read = 0  # bytes of the disk, for progress
        self._begun = 0

    def expected_size(self) -> int:
        """Bytes of the stream, by some frames from all over the disk."""
        count = zeros = 0
        for chunk in frames(self._content):
            count += bool(chunk.parts)
            zeros += 0 if chunk.parts else len(self.zeros.frames(chunk.length))
        step = max(1, count // SAMPLES)
        sampled = compressed = 0
        with closing(self._content.source.reader()) as reader:
            packer = Packer(reader, self.zeros, self._rooms)
            whole = (chunk for chunk in frames(self._content) if chunk.parts)
            for chunk in islice(whole, step // 2, None, step):
                sample = begun(chunk, SAMPLE)
                sampled += sample.length
                packed = packer.pack(sample)
                compressed += len(packed.frames)
                self._free(packed)
        around = len(self._header.encode()) + ENDS_SIZE + 600
        return around + zeros + (compressed * count * FRAME_SIZE // sampled if sampled else 0)

    def write(self) -> None:
        """Writes the header and all frames.

        Raises:
            KitError: the disk cannot be read, or the stream cannot be written.
        """
        self._output.write(self._header.encode(), _go_on)
        self._begun = self._output.written
        pool = Pool(frames(self._content), 0)
        order = InOrder(partial(self._take, pool.require_going))
        self._progress.begin("export", self._content.end)
        try:
            with ExitStack() as stack:
                workers = []
                for _ in range(worker_count()):
                    reader = stack.enter_context(closing(self._content.source.reader()))
                    workers.append(_Worker(Packer(reader, self.zeros, self._rooms), pool, order))
                pool.run(workers, lambda: self._progress.update(self._read))
        finally:
            self._progress.end()

    def _take(self, require_going: Going, chunk: Chunk, packed: Packed) -> None:
        """The frames of a chunk, when those before them are written."""
        self._digest.update(packed.digests)
        self._frames += -(-chunk.length // FRAME_SIZE)
        self._output.write(packed.frames, require_going)
        self._free(packed)
        self._read = chunk.end

    def _free(self, packed: Packed) -> None:
        if packed.room is not None:
            self._rooms.give_back(packed.room)

    def end(self) -> None:
        """Writes what stands behind the frames, once it is certain that these are right."""
        trailer = Trailer(
            frames=self._frames,
            disk_size=self._content.end,
            compressed=self._output.written - self._begun,
            digest=self._digest.hexdigest(),
            header=self._header.digest,
        )
        self._output.write(trailer.encode(), _go_on)
        for number in range(stream.END_FRAMES):
            self._output.write(stream.end(number), _go_on)
        self._output.close()


def _go_on() -> None:
    """In the main thread, a signal ends the wait by itself."""


def worker_count() -> int:
    """How many threads are of use: some wait for the disk while others compute."""
    return min(WORKERS, len(os.sched_getaffinity(0)) + 2)


def digest(view: memoryview) -> bytes:
    """Of the content of a frame. Other threads go on: xxhash's functions would keep the GIL."""
    found: bytes = xxhash.xxh3_128(view).digest()
    return found


class Zeros:
    """Frames of zeros, and digests of such; each is made once."""

    def __init__(self) -> None:
        self.whole, self.whole_digest = self._made(FRAME_SIZE)

    def frames(self, length: int) -> bytes:
        """Frames for so many bytes of zeros, the last of which may be short."""
        count, rest = divmod(length, FRAME_SIZE)
        return self.whole * count + (self._made(rest)[0] if rest else b"")

    def digests(self, length: int) -> bytes:
        """The digests of these frames, in a row."""
        count, rest = divmod(length, FRAME_SIZE)
        return self.whole_digest * count + (self._made(rest)[1] if rest else b"")

    def _made(self, length: int) -> tuple[bytes, bytes]:
        view, out = buffer(length), buffer(zstd.bound(length))
        packed = bytes(
            out[: Compressor(LEVEL, WINDOW_LOG, HASH_LOG, MIN_MATCH).compress(view, out)]
        )
        return packed, digest(view)


def begun(chunk: Chunk, length: int) -> Chunk:
    """The first `length` bytes of a chunk with parts, or all of a shorter one."""
    end = min(chunk.start + length, chunk.end)
    parts = [part for part in chunk.parts if part.guest_offset < end]
    return Chunk(
        chunk.start,
        end,
        tuple(part.cut(part.guest_offset, min(part.end, end)) for part in parts),
    )


class Packer:
    """Reads and compresses frames; each thread has its own."""

    def __init__(self, reader: Reader, zeros: Zeros, rooms: Rooms) -> None:
        self._reader = reader
        self._zeros = zeros
        self._rooms = rooms
        self._compressor = Compressor(LEVEL, WINDOW_LOG, HASH_LOG, MIN_MATCH)
        self._content = buffer(FRAME_SIZE)

    def pack(self, chunk: Chunk) -> Packed:
        """Makes the frames of a chunk; one of content takes a room."""
        if chunk.parts:
            view = self._content[: chunk.length]
            for part in chunk.parts:
                if part.kind is Kind.ZERO:
                    begin = part.guest_offset - chunk.start
                    view[begin : begin + part.length] = bytes(part.length)
            reads = [part for part in chunk.parts if part.kind is not Kind.ZERO]
            self._reader.read(reads, view, chunk.start)
            if not is_zero(view):
                room = self._rooms.take()
                length = self._compressor.compress(view, room)
                return Packed(room[:length], digest(view), room)
        return Packed(self._zeros.frames(chunk.length), self._zeros.digests(chunk.length))


class _Worker:
    """One thread of an export."""

    def __init__(self, packer: Packer, pool: Pool, order: InOrder) -> None:
        self._packer = packer
        self._pool = pool
        self._order = order

    def work(self, chunk: Chunk, number: int) -> None:
        """Reads and compresses a chunk, and hands it on."""
        self._order.put(number, chunk, self._packer.pack(chunk), self._pool.require_going)
