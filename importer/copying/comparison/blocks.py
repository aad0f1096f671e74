"""What is known of each block of a disk, by its map or by a comparison. Pure."""

import re
from collections.abc import Iterable, Iterator

from converter.extents import Extent, Kind, merged, with_replacements
from importer.copying.comparison.agent import BLOCK

# A block of which nothing is known is to be copied, too.
_UNKNOWN = 0
_STATES = {Kind.DATA: 1, Kind.ZERO: 2, Kind.SAME: 3}
_KINDS = {_UNKNOWN: Kind.DATA, **{state: kind for kind, state in _STATES.items()}}
_RUN = re.compile(b"\0+|\1+|\2+|\3+")


class Blocks:
    """The kind of each block of a disk of `size` bytes: DATA to be copied, ZERO to be made, SAME.

    It takes a byte for each block: 16 MiB for a disk of 1 TiB. Threads may mark blocks at once.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._states = bytearray(-(-size // BLOCK))

    def mark(self, start: int, end: int, kind: Kind) -> None:
        """Sets the kind of all blocks that begin between two offsets."""
        first, last = -(-start // BLOCK), -(-end // BLOCK)
        self._states[first:last] = bytes([_STATES[kind]]) * (last - first)

    def total(self, kind: Kind) -> int:
        """The bytes of all blocks that were found to be of a kind."""
        count = self._states.count(_STATES[kind]) * BLOCK
        if self._states and self._states[-1] == _STATES[kind]:
            count -= -self.size % BLOCK
        return count

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """See `converter.sources.base.Source`."""
        place = start
        while place < self.size:
            run = _RUN.match(self._states, place // BLOCK)
            assert run is not None
            end = min(run.end() * BLOCK, self.size)
            kind = _KINDS[run[0][0]]
            yield Extent(place, end - place, kind, 0 if kind is Kind.ZERO else place)
            place = end


def to_compare(
    runs: Iterable[tuple[int, bool]], replaced: Iterable[Extent], size: int
) -> Iterator[Extent]:
    """What is compared: DATA by digests, ZERO by looking for zeros; SAME is left out.

    All extents but the last one end with a block.

    Args:
        runs: of the disk, in order: bytes, whether all zero.
        replaced: what the target has instead of the disk's bytes, in order; blocks with some of it
            are left out.
        size: of the disk.
    """
    left_out: list[Extent] = []
    for extent in replaced:
        start = max(extent.guest_offset // BLOCK * BLOCK, left_out[-1].end if left_out else 0)
        end = min(-(-extent.end // BLOCK) * BLOCK, size)
        if start < end and extent.guest_offset < size:  # a GPT's backup may be beyond it
            left_out.append(Extent(start, end - start, Kind.SAME, start))
    return merged(with_replacements(merged(_of_blocks(runs, size)), left_out, 0, size))


def _of_blocks(runs: Iterable[tuple[int, bool]], size: int) -> Iterator[Extent]:
    """Zeros as far as they are whole blocks, between them data."""
    place = data = 0
    for extent in merged(_extents(runs)):
        place = extent.end
        if extent.kind is Kind.ZERO:
            start = -(-extent.guest_offset // BLOCK) * BLOCK
            end = size if place >= size else place // BLOCK * BLOCK
            if start < end:
                if data < start:
                    yield Extent(data, start - data, Kind.DATA, data)
                yield Extent(start, end - start, Kind.ZERO)
                data = end
    if data < size:
        yield Extent(data, size - data, Kind.DATA, data)


def _extents(runs: Iterable[tuple[int, bool]]) -> Iterator[Extent]:
    place = 0
    for length, is_zero in runs:
        yield Extent(place, length, Kind.ZERO if is_zero else Kind.DATA, 0 if is_zero else place)
        place += length
