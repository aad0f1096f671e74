"""The work of the threads: read the source and pass it to a sink, or verify the target."""

from converter.buffers import PAGE, buffer, is_zero
from converter.engine.chunks import Chunk
from converter.engine.content import TargetContent
from converter.engine.digests import Hash, Sums, update_zeros
from converter.engine.pool import Pool
from converter.engine.sinks import Sink
from converter.engine.written import Written
from converter.errors import VerificationFailed
from converter.extents import CHUNK, Extent, Kind
from converter.sources.base import Reader
from converter.target.device import Target

# Maximum number of threads. While some wait for the disk, others inflate or write. Each needs some
# MiB of buffers.
WORKERS = 16
WRITERS = 8  # of these, at once
COMPARERS = 8  # for updates and comparisons: each has one more buffer, for the target's content
SAMPLE = 8 << 20  # bytes between samples; devices make zeros in pieces of some MiB


class Counted:
    """Counts the bytes of data that all workers together have read and processed."""

    def __init__(self, workers: int) -> None:
        self._counts = [0] * workers

    def add(self, worker: int, count: int) -> None:
        """Adds to the count of one worker; each has its own, so no lock is needed."""
        self._counts[worker] += count

    def total(self) -> int:
        """The count of all workers, bytes."""
        return sum(self._counts)


class CopyWorker:
    """Reads chunks and passes them to a sink, and to the digest.

    Args:
        reader: of the source, this worker's own.
        sink: this worker's own.
        counted: counts the bytes that this worker (`number`) has processed.
        resumed: everything before this offset is on the target: it is read for digests only.
        digest: gets the bytes of the disk in order, without those after the disk's end.
        written: gets each chunk, for a verification.
    """

    def __init__(
        self,
        content: TargetContent,
        reader: Reader,
        sink: Sink,
        pool: Pool,
        *,
        counted: Counted,
        number: int,
        resumed: int = 0,
        digest: Hash | None = None,
        written: Written | None = None,
    ) -> None:
        self._content = content
        self._reader = reader
        self._sink = sink
        self._pool = pool
        self._resumed = resumed
        self._digest = digest
        self._written = written
        self._counted = counted
        self._number = number
        self._buffer = buffer(CHUNK)

    def work(self, chunk: Chunk, number: int) -> None:
        """Copies one chunk."""
        if not chunk.parts:
            if self._digest is not None:
                with self._pool.turn(number):
                    end = min(chunk.end, self._content.source.size)
                    update_zeros(self._digest, max(0, end - chunk.start))
            if self._written is not None:
                self._written.zeros(chunk.start, chunk.end)
            if chunk.end > self._resumed:
                self._sink.zeros(chunk.start, chunk.end)
            return
        view = self._buffer[: chunk.length]
        data = self._fill(chunk, view)
        if self._digest is not None:
            with self._pool.turn(number):
                end = min(chunk.end, self._content.source.size)
                self._digest.update(view[: max(0, end - chunk.start)])
        if self._written is not None:
            self._written.data(chunk.start, view)
        if chunk.end > self._resumed:
            self._sink.data(chunk.start, view)
        self._counted.add(self._number, data)

    def _fill(self, chunk: Chunk, view: memoryview) -> int:
        """Assembles a chunk's bytes in `view`; returns how many came from the source."""
        reads: list[Extent] = []
        for part in chunk.parts:
            if part.kind is Kind.ZERO:
                view[part.guest_offset - chunk.start : part.end - chunk.start] = bytes(part.length)
            elif part.kind is Kind.LITERAL:
                view[part.guest_offset - chunk.start : part.end - chunk.start] = part.literal
            else:
                reads.append(part)
        if reads:
            self._reader.read(reads, view, chunk.start)
        return sum([part.length for part in reads if part.kind is not Kind.SAME])


class VerifyWorker:
    """Reads the target back: sums up data, and checks that zeros are zero.

    Args:
        sums: get each chunk's data.
        sampled: read zeros only in samples: one page every SAMPLE bytes.
        counted: counts the bytes that this worker (`number`) has processed.
    """

    def __init__(
        self, target: Target, sums: Sums, *, sampled: bool, counted: Counted, number: int
    ) -> None:
        self._target = target
        self._sums = sums
        self._sampled = sampled
        self._counted = counted
        self._number = number
        self._buffer = buffer(CHUNK)

    def work(self, chunk: Chunk, _number: int) -> None:
        """Reads one chunk back.

        Raises:
            VerificationFailed: a range that should be zero is not.
        """
        if chunk.parts:
            self._sums.add(chunk.start, self._read(chunk.start, chunk.length))
        elif self._sampled:
            for place in (
                *range(chunk.start, chunk.end, SAMPLE),
                max(chunk.end - PAGE, chunk.start),
            ):
                self._require_zero(place, min(PAGE, chunk.end - place))
        else:
            for place in range(chunk.start, chunk.end, CHUNK):
                self._require_zero(place, min(CHUNK, chunk.end - place))
        self._counted.add(self._number, chunk.length)

    def _read(self, place: int, length: int) -> memoryview:
        view = self._buffer[:length]
        self._target.read_into(view, place)
        return view

    def _require_zero(self, place: int, length: int) -> None:
        if not is_zero(self._read(place, length)):
            raise VerificationFailed(
                self._target.path, f"between the bytes {place} and {place + length}"
            )
