"""The backup's goals in comparison with its peers: pure arithmetic."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from goals import OURS, Figures, Verdict, best, memory_row

EXPORT, RESTORE = "export", "restore"
DEVICE, FILE = "block", "file"
USUAL, LARGE = "4 GiB", "100 GiB"

DUMP, DUMP_ZSTD, DD, TAR, E2IMAGE = "dump", "dump zstd", "dd zstd", "tar zstd", "e2image"
QEMU, QEMU_TUNED = "qemu-img", "qemu-img none"
COMPRESSING = (DUMP_ZSTD, DD, TAR, QEMU)
SAME_LEVEL = (DUMP_ZSTD, DD, TAR)  # zstd -1; qemu-img has another level
QEMUS = (QEMU, QEMU_TUNED)  # restores

EXPORT_GOAL, RESTORE_GOAL, LARGE_GOAL = 0.8, 1.1, 1.3


class Cell(NamedTuple):
    """What is measured: export or restore, a block device or a file, and the disk's size."""

    work: str
    disk: str
    size: str


Found = Mapping[Cell, Mapping[str, Figures]]


def rows(found: Found, streams: Mapping[str, int], peak: int) -> list[str]:
    """A line for each goal.

    Args:
        found: figures of each contender in each cell.
        streams: bytes of each contender's stream of the usual disk.
        peak: memory of ours, bytes.
    """
    lines = [
        "{:9}{:8}{:9}".format(*cell) + str(verdict)
        for cell, contenders in found.items()
        if OURS in contenders
        for verdict in _verdicts(cell, contenders, found)
    ]
    if peers := [name for name in SAME_LEVEL if name in streams]:
        least = min(peers, key=lambda name: streams[name])
        size = Verdict(f"size / smallest ({least})", streams[OURS] / streams[least], 1.0, True)
        lines.append(f"{'stream':26}{size}")
    return [*lines, memory_row(peak)]


def _verdicts(cell: Cell, contenders: Mapping[str, Figures], found: Found) -> Iterator[Verdict]:
    ours = contenders[OURS].seconds
    if cell.size == LARGE:
        usual = found[cell._replace(size=USUAL)][OURS].seconds
        yield Verdict(f"time / that of {USUAL}", ours / usual, LARGE_GOAL, at_most=True)
        return
    peers, goal = (COMPRESSING, EXPORT_GOAL) if cell.work == EXPORT else (QEMUS, RESTORE_GOAL)
    if peer := best(contenders, peers):
        yield Verdict(f"time / best ({peer})", ours / contenders[peer].seconds, goal, at_most=True)
