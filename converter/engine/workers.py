"""The copy: threads that read a source and hand what they read to a sink."""

from converter.buffers import PAGE, buffer, is_zero
from converter.engine.chunks import Chunk
from converter.engine.content import TargetContent
from converter.engine.digests import Hash, Sums, update_zeros
from converter.engine.pool import Pool
from converter.engine.sinks import Sink
from converter.errors import VerificationFailed
from converter.extents import CHUNK, Extent, Kind
from converter.sources.base import Reader
from converter.target.device import Target

# Threads, at most. While some wait for the disk, others inflate or write; each has buffers of some
# MiB.
WORKERS = 16
WRITERS = 8  # of these, at once
COMPARERS = 8  # of updates and comparisons: each has a buffer more for what the target holds
SAMPLE = 8 << 20  # bytes; devices make zeros in pieces of some MiB


class Counted:
    """How many bytes of data were read from the source and dealt with; written by many threads."""

    def __init__(self, workers: int) -> None:
        self._counts = [0] * workers

    def add(self, worker: int, count: int) -> None:
        """Each worker has a count of its own: no lock is needed."""
        self._counts[worker] += count

    def total(self) -> int:
        """Bytes."""
        return sum(self._counts)


class CopyWorker:
    """Reads chunks and hands them to a sink, and to whatever takes digests.

    Args:
        reader: of the source, this worker's own.
        sink: this worker's own.
        counted: takes how many bytes this worker, its `number`, has dealt with.
        resumed: what lies before this place is there already: it is read for digests only.
        digest: takes the bytes of the disk in order; those behind the disk's end do not count.
        sums: take each chunk's bytes.
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
        sums: Sums | None = None,
    ) -> None:
        self._content = content
        self._reader = reader
        self._sink = sink
        self._pool = pool
        self._resumed = resumed
        self._digest = digest
        self._sums = sums
        self._counted = counted
        self._number = number
        self._buffer = buffer(CHUNK)

    def work(self, chunk: Chunk, number: int) -> None:
        """Does one chunk."""
        if not chunk.parts:
            if self._digest is not None:
                with self._pool.turn(number):
                    end = min(chunk.end, self._content.source.size)
                    update_zeros(self._digest, max(0, end - chunk.start))
            if chunk.end > self._resumed:
                self._sink.zeros(chunk.start, chunk.end)
            return
        view = self._buffer[: chunk.length]
        data = self._fill(chunk, view)
        if self._digest is not None:
            with self._pool.turn(number):
                end = min(chunk.end, self._content.source.size)
                self._digest.update(view[: max(0, end - chunk.start)])
        if self._sums is not None:
            self._sums.add(chunk.start, view)
        if chunk.end > self._resumed:
            self._sink.data(chunk.start, view)
        self._counted.add(self._number, data)

    def _fill(self, chunk: Chunk, view: memoryview) -> int:
        """Puts a chunk's bytes together; returns how many of them came from the source."""
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
        return sum([part.length for part in reads])


class VerifyWorker:
    """Reads the target back: sums of data, and zeros where zeros belong.

    Args:
        sums: take each chunk's data.
        sampled: of zeros, look only at a page every SAMPLE bytes.
        counted: takes how many bytes this worker, its `number`, has dealt with.
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
            VerificationFailed: it is not zero where it should be.
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
