"""What a run of the program shall do, and how far it came."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CopyOptions:
    """What one run shall do: the program's options, which qcow2raw(8) explains."""

    source: str
    target: str
    image_format: str | None = None
    force: bool = False
    force_file: bool = False
    swap: str = "recreate"
    fix_gpt: bool = True
    verify: bool = False
    digest: str | None = None
    update: bool = False
    resume: bool = False
    dry_run: bool = False
    made: bool = False  # the target is a volume that was made for this copy, and goes if it fails
    reads_as_zeros: bool = False  # the target is a thin volume that was made for this copy
    confirm: Callable[[str], bool] | None = None


@dataclass
class CopyOutcome:
    """How far a run came: the exit code and the last words depend on it."""

    touched: bool = False  # a byte of the target may have been written
    complete: bool = False  # all is there, and on the disk
    resumable: int | None = None  # --resume would go on at this byte of the target
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Keeps how long a phase took."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = round(time.monotonic() - started, 3)
