"""Copies a disk from the temporary file onto the target."""

from contextlib import ExitStack, closing

from backup.disks.content import frames
from backup.disks.held_back import HeldBack
from backup.export import worker_count
from backup.streams.stream import FRAME_SIZE
from converter.buffers import buffer
from converter.engine.chunks import Chunk
from converter.engine.content import TargetContent
from converter.engine.pool import Pool
from converter.extents import Kind
from converter.progress import Progress
from converter.sources.base import Reader, Source


def copy(source: Source, held: HeldBack, progress: Progress) -> None:
    """Writes all of a disk.

    Raises:
        KitError: it cannot be read, or the target not be written.
    """
    pool = Pool(frames(TargetContent(source, [], source.size)), 0)
    progress.begin("write", source.size)
    try:
        with ExitStack() as stack:
            readers = [stack.enter_context(closing(source.reader())) for _ in range(worker_count())]
            pool.run(
                [_Worker(reader, held) for reader in readers],
                lambda: progress.update(pool.low_watermark()),
            )
    finally:
        progress.end()


class _Worker:
    """One thread of a copy."""

    def __init__(self, reader: Reader, held: HeldBack) -> None:
        self._reader = reader
        self._held = held
        self._content = buffer(FRAME_SIZE)

    def work(self, chunk: Chunk, _number: int) -> None:
        """Copies a frame, or makes zeros."""
        if not chunk.parts:
            self._held.zeros(chunk.start, chunk.length)
            return
        view = self._content[: chunk.length]
        view[:] = bytes(chunk.length)
        reads = [part for part in chunk.parts if part.kind is not Kind.ZERO]
        self._reader.read(reads, view, chunk.start)
        self._held.data(chunk.start, view)
