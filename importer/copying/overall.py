"""The progress of several copies: of each one, and of all together.

A copy calls its `Part` in its own thread. The board reads the parts and reports in the main
thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from converter import PartedProgress, Progress


@dataclass
class _Phase:
    """A phase that a copy has begun; bytes."""

    name: str
    total: int
    begun_at: int
    done: int


class Part:
    """A `converter.Progress` that keeps what one copy tells.

    Args:
        require_going: is called in the copy's thread, and raises if the copy has to end.
    """

    def __init__(self, require_going: Callable[[], None]) -> None:
        self.phases: list[_Phase] = []
        self.ended = False  # set when the copy has ended
        self._require_going = require_going

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        """See `converter.Progress`."""
        self.phases.append(_Phase(phase, total, done, done))
        self._require_going()

    def update(self, done: int) -> None:
        """See `converter.Progress`."""
        self.phases[-1].done = done
        self._require_going()

    def end(self) -> None:
        """See `converter.Progress`; the next phase or the copy's end tells the same."""


class Board:
    """Reports parts by name, and all of them together.

    All together are in a phase once the last one has begun it, so that its total is known.

    Args:
        parts: by the name of the disk.
        progress: of all together; it makes the reports on the parts, unless there is only one.
    """

    def __init__(self, parts: Mapping[str, Part], progress: PartedProgress) -> None:
        self._parts = list(parts.values())
        self._shown = [_Shown(progress, self._parts)]
        if len(parts) > 1:
            self._shown += [_Shown(progress.part(name), [part]) for name, part in parts.items()]

    def show(self) -> None:
        """Reports what is new."""
        for each in self._shown:
            each.show()

    def end(self) -> None:
        """Ends the reports."""
        for each in self._shown:
            each.end()


class _Shown:
    """One report, on one part or on several together."""

    def __init__(self, progress: Progress, parts: list[Part]) -> None:
        self._progress = progress
        self._parts = parts
        self._number = 0  # of the phase that is shown or awaited
        self._is_open = False

    def show(self) -> None:
        while self._begin():
            now = [part.phases[self._number] for part in self._with(self._number)]
            self._progress.update(sum(phase.done for phase in now))
            if not self._is_over():
                return
            self.end()
            self._number += 1

    def end(self) -> None:
        if self._is_open:
            self._progress.end()
            self._is_open = False

    def _begin(self) -> bool:
        """Whether the phase is open, now if not before."""
        begun = self._with(self._number)
        if self._is_open or not begun:
            return self._is_open
        if not all(part in begun or part.ended for part in self._parts):
            return False
        now = [part.phases[self._number] for part in begun]
        total, done = sum(each.total for each in now), sum(each.begun_at for each in now)
        self._progress.begin(now[0].name, total, done)
        self._is_open = True
        return True

    def _with(self, number: int) -> list[Part]:
        return [part for part in self._parts if len(part.phases) > number]

    def _is_over(self) -> bool:
        later = self._with(self._number + 1)
        return all(part in later or part.ended for part in self._parts)
