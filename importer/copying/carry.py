"""Carries the disks of one pass into their volumes: each as `methods` has decided."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace

from converter import (
    BaseIncomplete,
    CopyFailed,
    CopyOptions,
    PartedProgress,
    ResumeMismatch,
    VerificationFailed,
)
from importer.copying.comparison.update import update
from importer.copying.opening import Opener, Piece
from importer.copying.rate import Rate
from importer.copying.several import DiskCopy, copy_all
from importer.errors import CopiesFailed, CopiesStopped
from importer.host.connection import KvmHost
from node.errors import KitError
from node.log import log

# Programs may read the volumes: lvm(8), udev.
OPTIONS = CopyOptions(verify=True, readers_allowed=True)


@dataclass(frozen=True)
class Carried:
    """What a pass has carried: bytes and seconds.

    Attributes:
        wire: bytes that crossed the wire, about.
        copied, copy_seconds: of disks that were copied, without what did not cross the wire.
        compared, compare_seconds: of disks that were compared, all of their data.
    """

    wire: int = 0
    copied: int = 0
    copy_seconds: float = 0.0
    compared: int = 0
    compare_seconds: float = 0.0

    def __add__(self, other: "Carried") -> "Carried":
        return Carried(
            *(ours + theirs for ours, theirs in zip(astuple(self), astuple(other), strict=True))
        )


@dataclass(frozen=True)
class Carrier:
    """Carries disks.

    Attributes:
        host: the KVM host.
        origin: what identifies the domain, and the state of its disks that this pass carries.
        progress: of all disks together, and of each.
        rate: that all share, or None for no limit.
        resume: whether an earlier run of this pass may have begun to copy disks.
    """

    host: KvmHost
    origin: Mapping[str, str]
    progress: PartedProgress
    rate: Rate | None = None
    resume: bool = False

    def carry(self, pieces: Sequence[Piece], done: Callable[[Sequence[str]], None]) -> Carried:
        """Carries disks; calls `done` with the targets of those that are complete and verified.

        Raises:
            CopiesFailed, KitError: a disk cannot be read or written.
            HostLost: the connection is lost.
            CopiesStopped: a signal came.
        """
        copies = [piece for piece in pieces if piece.work.work != "compare"]
        total = self._copy(copies, done) if copies else Carried()
        for piece in pieces:
            if piece.work.work == "compare":
                total += self._compare(piece)
                done([piece.target])
        return total

    def _copy(self, pieces: Sequence[Piece], done: Callable[[Sequence[str]], None]) -> Carried:
        began = time.monotonic()
        left = {piece.target for piece in pieces}
        wire: dict[str, int] = {}
        compared = Carried()
        resume = self.resume
        while left:
            try:
                wire |= self._copies(pieces, left, resume=resume)
                break
            except CopiesFailed as failed:
                complete = left - failed.failures.keys()
                done(sorted(complete))
                # The guest has changed the first bytes of a disk since: its copy begins anew.
                anew = _failed_by(failed, ResumeMismatch)
                unknown = self._unknown(failed)
                if not anew | unknown:
                    raise
                wire |= self._copies(pieces, anew, resume=False)
                for piece in pieces:
                    if piece.target in unknown:
                        compared += self._compare(piece)
                        done([piece.target])
                left -= complete | anew | unknown
                resume = True
            except CopiesStopped as stopped:
                done(sorted(name for name, state in stopped.left.items() if state.complete))
                raise
        done(sorted(wire))
        copied = sum(wire.values())
        seconds = time.monotonic() - began - compared.compare_seconds
        return compared + Carried(copied, copied, seconds)

    def _unknown(self, failed: CopiesFailed) -> set[str]:
        """The disks of which only a comparison tells what their volumes hold."""
        # The first part is of an earlier run, and the domain may have run in between.
        older = _failed_by(failed, VerificationFailed) if self.resume else set()
        for target in sorted(older):
            log.warning("disk %s: not what an earlier run has copied: it is compared", target)
        # A comparison was interrupted.
        return older | _failed_by(failed, BaseIncomplete)

    def _copies(
        self, pieces: Sequence[Piece], targets: set[str], *, resume: bool
    ) -> dict[str, int]:
        """Copies those with these targets; returns the bytes of each that crossed the wire."""
        with ExitStack() as stack:
            copies, opened = [], {}
            for piece in pieces:
                if piece.target not in targets:
                    continue
                there = opened[piece.target] = stack.enter_context(self._opener.source(piece))
                options = (
                    replace(OPTIONS, increment=True)
                    if piece.work.work == "changes"
                    else replace(OPTIONS, force=True, resume=resume)
                )
                copies.append(DiskCopy(piece.target, there.source, piece.volume, options))
            results = copy_all(copies, self.progress) if copies else {}
            return {target: opened[target].wire(result) for target, result in results.items()}

    def _compare(self, piece: Piece) -> Carried:
        began = time.monotonic()
        with self._opener.agent(piece) as disk:
            found = update(
                *(disk, piece.volume, OPTIONS, self.progress),
                throttle=self.rate.take if self.rate is not None else lambda _: None,
                moves=piece.export.moves,
            )
        seconds = time.monotonic() - began
        return Carried(found.wire, compared=found.compared.compared, compare_seconds=seconds)

    @property
    def _opener(self) -> Opener:
        return Opener(self.host, self.origin, self.rate)


def _failed_by(failed: CopiesFailed, kind: type[KitError]) -> set[str]:
    """The disks whose copies failed by an error of a kind."""
    causes = {
        name: error.cause if isinstance(error, CopyFailed) else error
        for name, error in failed.failures.items()
    }
    return {name for name, cause in causes.items() if isinstance(cause, kind)}
