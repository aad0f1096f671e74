"""The results of copies and comparisons; all figures are bytes and seconds."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from converter.extents import Kind


@dataclass(frozen=True)
class CopyPlan:
    """What a copy writes to the target.

    Attributes:
        source: its name.
        format: of the source.
        target: its path.
        size: of the source's disk.
        target_size: of the target; everything after the disk becomes zero.
        extents: bytes of the target by kind.
        notes: what is not copied unchanged, in words: swap and GPT.
    """

    source: str
    format: str
    target: Path
    size: int
    target_size: int
    extents: Mapping[Kind, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Zeroing:
    """How zeros were made: the strategy used last, and bytes by method.

    Attributes:
        strategy: one of `target.zeroing.Strategy`.
        skipped: bytes that were zero already.
        zeroed: bytes made zero without being written.
        written: bytes of zeros that were written.
    """

    strategy: str
    skipped: int
    zeroed: int
    written: int


@dataclass(frozen=True)
class CopyResult:
    """A complete copy, flushed to the disk.

    Attributes:
        plan: what was copied.
        zeroing: None for an update, which compares zeros like all other data.
        digest: hexadecimal; None if none was asked for.
        verified: whether the target was read back.
        resumed_at: the byte at which the copy was resumed; 0 if it started at the beginning.
        seconds: by phase: check, copy, flush, verify.
    """

    plan: CopyPlan
    zeroing: Zeroing | None
    digest: str | None
    verified: bool
    resumed_at: int
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """How a target differs from what a copy would make of it.

    Attributes:
        plan: what was compared.
        first_difference: the first byte that differs; None if none does.
        different_bytes: total bytes of the pages that differ.
        seconds: by phase: check, compare.
    """

    plan: CopyPlan
    first_difference: int | None
    different_bytes: int
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class SwapResult:
    """A target that is now a swap area: its size, and the UUID taken from the source."""

    target: Path
    target_size: int
    uuid: UUID


class Stopwatch:
    """Measures how long each phase takes, seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the time spent inside to a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            taken = self.seconds.get(phase, 0.0) + time.monotonic() - started
            self.seconds[phase] = round(taken, 3)
