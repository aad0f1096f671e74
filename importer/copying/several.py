"""Copies several disks at once: one progress, and all end when one fails or a signal comes.

Each copy runs in a thread of its own, with its own threads and journal (`converter.copy`). Python
handles signals in the main thread only. That one waits here within `signals_deferred`, and the
copies ask whether a signal waits.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from converter import (
    CopyFailed,
    CopyOptions,
    CopyResult,
    CopyStopped,
    KitError,
    PartedProgress,
    Source,
    TargetState,
    Terminated,
    copy,
)
from importer.copying.overall import Board, Part
from importer.errors import CopiesFailed, CopiesStopped
from node.cleanup import raise_waiting, signals_blocked, signals_deferred
from node.log import log

TICK = 0.2  # seconds


@dataclass(frozen=True)
class DiskCopy:
    """A copy to make: the disk's name in reports, such as vda, and the arguments of `copy`."""

    name: str
    source: Source
    target: Path
    options: CopyOptions


class _AnotherFailedError(KitError):
    """A copy is stopped because another one failed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"copy of {name}: stopped, because the copy of another disk failed",
            hint="see the other disk's error",
        )


def copy_all(copies: Sequence[DiskCopy], progress: PartedProgress) -> dict[str, CopyResult]:
    """Copies disks at the same time; returns the results by the names of the disks.

    It is called in the main thread. A copy that is stopped can be resumed as any other
    (`CopyOptions.resume`).

    Args:
        copies: the names and the targets differ.
        progress: reports all together, and each of several.

    Raises:
        CopiesFailed: one failed. What `progress` raises counts as a failure, too.
        CopiesStopped: a signal came.
    """
    run = _Run(copies)
    try:
        with signals_deferred():
            run.through(progress)
    except Terminated as signal:
        raise CopiesStopped(signal.number, run.left()) from None
    if run.first is not None:
        raise CopiesFailed(run.first, run.failures, run.left()) from run.first
    return run.results


class _Run:
    """Copies under way."""

    def __init__(self, copies: Sequence[DiskCopy]) -> None:
        self._copies = copies
        self._parts = {each.name: Part(partial(self._require_going, each.name)) for each in copies}
        self._changed = threading.Condition()
        self.first: KitError | None = None  # the first error: why the others are stopped
        self.failures: dict[str, KitError] = {}
        self.results: dict[str, CopyResult] = {}
        self._stopped: dict[str, TargetState] = {}  # by a signal

    def through(self, progress: PartedProgress) -> None:
        """Copies all, or until the first error."""
        board = Board(self._parts, progress)
        threads: list[threading.Thread] = []
        try:
            with signals_blocked():  # the threads inherit that
                for each in self._copies:
                    thread = threading.Thread(target=self._copy, args=[each])
                    thread.start()
                    threads.append(thread)
            while not self._all_ended():
                with self._changed:
                    self._changed.wait_for(self._all_ended, TICK)
                board.show()
            board.show()
        except Exception as error:
            with self._changed:
                self.first = self.first or _as_kit_error(error)
        finally:
            for thread in threads:
                thread.join()
            board.end()
        for name, failure in self.failures.items():
            if failure is not self.first and not isinstance(_cause(failure), _AnotherFailedError):
                log.warning("%s: %s", name, failure.message)

    def left(self) -> dict[str, TargetState]:
        """The state of each target that was touched."""
        complete = {name: TargetState(complete=True) for name in self.results}
        failed = {
            name: error.left
            for name, error in self.failures.items()
            if isinstance(error, CopyFailed)
        }
        return complete | failed | self._stopped

    def _copy(self, each: DiskCopy) -> None:
        """One copy, in its thread."""
        try:
            result = copy(each.source, each.target, each.options, self._parts[each.name])
            with self._changed:
                self.results[each.name] = result
        except CopyStopped as stopped:
            with self._changed:
                self._stopped[each.name] = stopped.left
        except Terminated:
            pass  # nothing was touched
        except Exception as error:
            with self._changed:
                self.failures[each.name] = failure = _as_kit_error(error)
                self.first = self.first or failure
        finally:
            with self._changed:
                self._parts[each.name].ended = True
                self._changed.notify_all()

    def _all_ended(self) -> bool:
        return all(part.ended for part in self._parts.values())

    def _require_going(self, name: str) -> None:
        """Ends a copy from within its progress."""
        raise_waiting()
        if self.first is not None:
            raise _AnotherFailedError(name)


def _as_kit_error(error: Exception) -> KitError:
    if isinstance(error, KitError):
        return error
    return KitError(f"{type(error).__name__}: {error}", hint="fix that, and run it again")


def _cause(error: KitError) -> Exception:
    return error.cause if isinstance(error, CopyFailed) else error
