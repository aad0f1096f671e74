"""Compares a disk on the KVM host with a volume of this node, by digests of their blocks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from converter import replacements
from converter.buffers import buffer, is_zero
from converter.convert import SILENT
from converter.engine.chunks import Chunk, chunks
from converter.engine.copy_run import run_through
from converter.engine.pool import Pool
from converter.engine.workers import COMPARERS, Counted
from converter.extents import CHUNK, Extent, Kind
from converter.options import CopyOptions
from converter.paths import Name
from converter.progress import Progress
from converter.results import Stopwatch
from converter.target.device import Target, open_target_read_only
from importer.copying.comparison.agent import BLOCK, DIGEST
from importer.copying.comparison.agent_disk import AgentDisk
from importer.copying.comparison.blocks import Blocks, to_compare


@dataclass(frozen=True)
class Compared:
    """What a comparison has found; figures are bytes and seconds.

    Attributes:
        blocks: the kind of each block.
        compared: bytes that were compared.
        different: of these, in blocks that differ.
        wire: sent and received.
    """

    blocks: Blocks
    compared: int
    different: int
    wire: int
    seconds: float


class _Comparer:
    """Compares chunks with the target, and marks their blocks; each thread has its own."""

    def __init__(
        self,
        disk: AgentDisk,
        target: Target,
        blocks: Blocks,
        counted: Counted,
        number: int,
        throttle: Callable[[int], None],
    ) -> None:
        self._disk = disk
        self._target = target
        self._blocks = blocks
        self._counted = counted
        self._number = number
        self._throttle = throttle
        self._buffer = buffer(CHUNK)

    def work(self, chunk: Chunk, _number: int) -> None:
        """Compares one chunk."""
        if not chunk.parts:
            for place in range(chunk.start, chunk.end, CHUNK):
                end = min(place + CHUNK, chunk.end)
                self._zeros(place, self._held(place, end))
                self._counted.add(self._number, end - place)
            return
        data = [part for part in chunk.parts if part.kind is Kind.DATA]
        self._throttle(sum(part.length for part in data))
        # The agent reads and computes while we do.
        asked = [self._disk.digests(part.guest_offset, part.length) for part in data]
        view = self._held(chunk.start, chunk.end)
        for part in chunk.parts:
            held = view[part.guest_offset - chunk.start : part.end - chunk.start]
            if part.kind is Kind.ZERO:
                self._zeros(part.guest_offset, held)
            elif part.kind is Kind.DATA:
                self._data(part.guest_offset, held, asked.pop(0).wait)
            if part.kind is not Kind.SAME:
                self._counted.add(self._number, part.length)

    def _held(self, start: int, end: int) -> memoryview:
        view = self._buffer[: end - start]
        self._target.read_into(view, start)
        return view

    def _zeros(self, start: int, held: memoryview) -> None:
        for place in range(0, len(held), BLOCK):
            kind = Kind.SAME if is_zero(held[place : place + BLOCK]) else Kind.ZERO
            self._blocks.mark(start + place, start + place + BLOCK, kind)

    def _data(self, start: int, held: memoryview, theirs: Callable[[], memoryview]) -> None:
        hasher = self._disk.hasher
        ours = [
            hasher.zero if len(block) == BLOCK and is_zero(block) else hasher.of(block)
            for place in range(0, len(held), BLOCK)
            if len(block := held[place : place + BLOCK])
        ]
        found = bytes(theirs())
        for number, digest in enumerate(ours):
            theirs_is = found[number * DIGEST : (number + 1) * DIGEST]
            if theirs_is == digest:
                kind = Kind.SAME
            else:
                kind = Kind.ZERO if theirs_is == hasher.zero else Kind.DATA
            place = start + number * BLOCK
            self._blocks.mark(place, place + BLOCK, kind)


def compare(
    disk: AgentDisk,
    target: Name,
    options: CopyOptions,
    progress: Progress = SILENT,
    throttle: Callable[[int], None] = lambda _: None,
) -> Compared:
    """Compares a disk with a volume, but for what the volume has in its place (swap, GPT).

    Args:
        disk: as `agent_disk` opened it.
        target: the volume; it is only read.
        options: those of the copy: its swap, its GPT.
        progress: is called in the phase compare. If it raises, the comparison ends.
        throttle: is called with the bytes that will be read on the KVM host, before that; it may
            sleep.

    Raises:
        KitError: one of them cannot be read, or the volume is too small.
    """
    watch, before = Stopwatch(), disk.on_the_wire
    with watch.timed("compare"), open_target_read_only(target, size_needed=disk.size) as there:
        blocks = Blocks(disk.size)  # of a size that there is: any agent could state any size
        replaced = _replaced(disk, there.size, options)
        pieces = chunks(to_compare(disk.all_runs(), replaced, disk.size), disk.size)
        pool, counted = Pool(pieces, 0), Counted(COMPARERS)
        workers = [
            _Comparer(disk, there, blocks, counted, number, throttle) for number in range(COMPARERS)
        ]
        left_out = sum(max(0, min(each.end, disk.size) - each.guest_offset) for each in replaced)
        run_through(pool, workers, progress, "compare", disk.size - left_out, counted)
        there.require_in_place()
    return Compared(
        blocks,
        compared=counted.total(),
        different=blocks.total(Kind.DATA) + blocks.total(Kind.ZERO),
        wire=disk.on_the_wire - before,
        seconds=watch.seconds["compare"],
    )


def _replaced(disk: AgentDisk, target_size: int, options: CopyOptions) -> Sequence[Extent]:
    """What the volume has instead of the disk's bytes, in order."""
    areas = replacements.swap_areas(disk.read, disk.size, disk.name, mode=options.swap)
    return replacements.plan_replacements(
        areas, disk.read, disk.size, target_size, fix_gpt=options.fix_gpt, kept_until=disk.size
    ).extents
