"""What came of a copy or a comparison; all figures are bytes and seconds."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from converter.extents import Kind


@dataclass(frozen=True)
class CopyPlan:
    """What a copy makes of a source and a target.

    Attributes:
        source: its name.
        format: of the source.
        target: its path.
        size: of the source's disk.
        target_size: all behind the disk becomes zero.
        extents: so many bytes of the target are of which kind.
        notes: what is not copied as it is, in words: swap and GPT.
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
    """How zeros were made: the strategy used last, and how many bytes went which way.

    Attributes:
        strategy: one of `target.zeroing.Strategy`.
        skipped: were zero already.
        zeroed: were made zero without being written.
        written: were written.
    """

    strategy: str
    skipped: int
    zeroed: int
    written: int


@dataclass(frozen=True)
class CopyResult:
    """A copy that is complete, and on the disk.

    Attributes:
        plan: what was copied.
        zeroing: None for an update, which compares zeros like all else.
        digest: hexadecimal, where one was asked for.
        verified: whether the target was read back.
        resumed_at: where the copy went on; 0 if it began at the beginning.
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
        different_bytes: so many bytes are in pages that differ.
        seconds: by phase: check, compare.
    """

    plan: CopyPlan
    first_difference: int | None
    different_bytes: int
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class SwapResult:
    """A target that was made swap: its size, and the UUID that it has from the source."""

    target: Path
    target_size: int
    uuid: UUID


class Stopwatch:
    """How long each phase took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds what happens inside to a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            taken = self.seconds.get(phase, 0.0) + time.monotonic() - started
            self.seconds[phase] = round(taken, 3)
