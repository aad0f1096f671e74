"""The goals of the import's bench in comparison with the peers: pure arithmetic."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from goals import OURS, Verdict

BITMAP, COMPARISON = "bitmap", "comparison"
SEED, NBDCOPY, NBDCOPY_TUNED = "rsync + convert", "nbdcopy", "nbdcopy tuned"
NBDCOPIES = (NBDCOPY, NBDCOPY_TUNED)

# How many times shorter the downtime is than that of rsync and qemu-img convert.
DOWNTIME_GOALS = {BITMAP: 20.0, COMPARISON: 3.0}
SPEED_GOAL, FASTER_GOAL, SPOOL_GOAL = 0.9, 2.0, 0.0


class Transfer(NamedTuple):
    """How a machine was moved, or the medians of such figures.

    Attributes:
        first: seconds of the first pass.
        last: seconds of the last pass with all that belongs to it; None if there is only one.
        downtime: seconds that the machine was suspended; None if it was not.
        wire_first, wire_later: bytes on the network, in both directions: of the first pass, and of
            all others together.
        passes: how many there were.
        spool: bytes of the largest sum of files that it left after a pass on the node.
    """

    first: float
    last: float | None
    downtime: float | None
    wire_first: int
    wire_later: int
    passes: int
    spool: int


Found = Mapping[str, Mapping[str, Transfer]]  # by method and contender


def combined(runs: list[Transfer], pick: Callable[[Iterable[float]], float]) -> Transfer:
    """One of several runs: their medians or minima; of the spool space, the largest."""

    def optional(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return pick(known) if known else None

    return Transfer(
        pick([run.first for run in runs]),
        optional([run.last for run in runs]),
        optional([run.downtime for run in runs]),
        round(pick([run.wire_first for run in runs])),
        round(pick([run.wire_later for run in runs])),
        runs[0].passes,
        max(run.spool for run in runs),
    )


def table(found: Found) -> list[str]:
    """The lines of a table with a row for each contender and method; times are in seconds."""
    form = "{:12}{:18}{:>8}{:>10}{:>10}{:>11}{:>11}{:>8}{:>11}".format
    lines = [
        form("", "", "first", "last", "downtime", "MB first", "MB later", "passes", "MiB spool")
    ]
    for method, contenders in found.items():
        for name, each in contenders.items():
            figures = (
                f"{each.first:.2f}",
                *("-" if value is None else f"{value:.2f}" for value in (each.last, each.downtime)),
                *(f"{value / 1e6:.1f}" for value in (each.wire_first, each.wire_later)),
                str(each.passes),
                f"{each.spool >> 20}",
            )
            lines.append(form(method, name, *figures))
    return lines


def rows(found: Found) -> list[str]:
    """A line for each goal; without those on contenders that did not run."""
    return [
        f"{method:12}{verdict}"
        for method, contenders in found.items()
        if OURS in contenders
        for verdict in _verdicts(method, contenders)
    ]


def _verdicts(method: str, contenders: Mapping[str, Transfer]) -> list[Verdict]:
    ours, verdicts = contenders[OURS], []
    if seed := contenders.get(SEED):
        if ours.downtime and seed.downtime:
            verdicts.append(
                Verdict(
                    f"downtime: times shorter than {SEED}",
                    seed.downtime / ours.downtime,
                    DOWNTIME_GOALS[method],
                    at_most=False,
                )
            )
        faster = seed.first / ours.first
        what = f"first pass: times faster than {SEED}"
        verdicts.append(Verdict(what, faster, FASTER_GOAL, at_most=False))
    if peers := [name for name in NBDCOPIES if name in contenders]:
        best = min(peers, key=lambda name: contenders[name].first)
        speed = contenders[best].first / ours.first
        verdicts.append(
            Verdict(f"first pass: speed / best ({best})", speed, SPEED_GOAL, at_most=False)
        )
    verdicts.append(Verdict("spool space, MiB", float(ours.spool >> 20), SPOOL_GOAL, at_most=True))
    return verdicts
