"""The converter's goals in comparison with its peers: pure arithmetic on medians."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

OURS = "ours"
VERIFIED = "ours --verify"
PLAIN_PEER = "qemu-img"
PEERS = (PLAIN_PEER, "qemu-img none", "qemu-img wb", "nbdcopy", "nbdcopy tuned")
LIMITS = ("limit 1", "limit 2", "limit 4")  # streams

MEMORY_GOAL = 128 * 2**20  # bytes, must be below


class Figures(NamedTuple):
    """Medians of one contender in one cell: wall and CPU seconds, peak memory in bytes."""

    seconds: float
    cpu: float
    memory: int


class Cell(NamedTuple):
    """The conditions of a run: image, its page cache (cold, warm), target (clean, dirty)."""

    image: str
    cache: str
    target: str


class Verdict(NamedTuple):
    """A ratio and its goal; with `at_most` smaller is better, else larger."""

    what: str
    ratio: float
    goal: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether the goal is reached; a ratio equal to the goal is enough."""
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def __str__(self) -> str:
        relation = "<=" if self.at_most else ">="
        met = "met" if self.met else "missed"
        return f"{self.what:44}{self.ratio:7.2f}  {relation} {self.goal:.2f}  {met}"


Medians = Mapping[str, Figures]
Row = TypeVar("Row", bound=tuple[str, str, str])

# Goals for compressed images: how many times faster than the best peer, by page cache.
_INFLATED = {"zlib": {"cold": 1.5, "warm": 2.2}, "zstd": {"cold": 1.1, "warm": 1.3}}


def best(medians: Medians, names: tuple[str, ...]) -> str | None:
    """The fastest of the contenders that ran, or None."""
    return min((n for n in names if n in medians), key=lambda n: medians[n].seconds, default=None)


def verdicts(cell: Cell, medians: Medians) -> list[Verdict]:
    """The verdicts of a cell; without those on programs that did not run."""
    if OURS not in medians:
        return []
    ours = medians[OURS]
    found: list[Verdict] = []

    def compare(
        what: str,
        name: str | None,
        goal: float,
        ratio: Callable[[Figures], float],
        *,
        at_most: bool = True,
    ) -> None:
        if name is not None and name in medians:
            found.append(Verdict(what, ratio(medians[name]), goal, at_most))

    def slower(other: Figures) -> float:
        return ours.seconds / other.seconds

    def faster(other: Figures) -> float:
        return other.seconds / ours.seconds

    peer = best(medians, PEERS)
    if cell.image in ("plain", "fragmented"):
        compare(f"time / best peer ({peer})", peer, 1.05, slower)
        limit = best(medians, LIMITS)
        compare(f"time / limit ({limit})", limit, 1.15, slower)
        compare("times faster than qemu-img convert", PLAIN_PEER, 3.0, faster, at_most=False)
    elif cell.image in _INFLATED:
        goal = _INFLATED[cell.image][cell.cache]
        compare(f"times faster than best peer ({peer})", peer, goal, faster, at_most=False)
        if cell.image == "zlib":
            compare(f"CPU / best peer ({peer})", peer, 0.5, lambda other: ours.cpu / other.cpu)
    elif cell.image == "empty":
        compare(f"time / best peer ({peer})", peer, 1.0, slower)
    compare(
        "time with --verify / without", VERIFIED, 1.7, lambda other: other.seconds / ours.seconds
    )
    return found


def matrix(medians: Mapping[Row, Medians], shown: Callable[[Figures], str]) -> list[str]:
    """The lines of a table with a row for each cell and a column for each contender that ran."""
    names = list(dict.fromkeys(name for found in medians.values() for name in found))
    widths = [max(len(name), 6) + 2 for name in names]
    lines = [
        " " * 23 + "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    ]
    for cell, found in medians.items():
        texts = [shown(found[name]) if name in found else "-" for name in names]
        row = "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
        lines.append("{:11}{:6}{:6}".format(*cell) + row)
    return lines


def rows(medians: Mapping[Cell, Medians]) -> list[str]:
    """A line for each goal: the ratio, the goal, and whether it is met."""
    lines = [
        "{:11}{:6}{:6}".format(*cell) + str(verdict)
        for cell, found in medians.items()
        for verdict in verdicts(cell, found)
    ]
    peaks = [
        found[name].memory
        for found in medians.values()
        for name in (OURS, VERIFIED)
        if name in found
    ]
    if peaks:
        lines.append(memory_row(max(peaks)))
    return lines


def memory_row(peak: int) -> str:
    """The line of the goal for memory."""
    met = "met" if peak < MEMORY_GOAL else "missed"
    return f"peak memory {peak / 2**20:.0f} MiB, goal < {MEMORY_GOAL >> 20} MiB: {met}"
