"""Carries the disks of one pass into their volumes: each as `methods` has decided."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from converter import (
    BaseIncomplete,
    CopyOptions,
    CopyResult,
    Kind,
    PartedProgress,
    ResumeMismatch,
    Source,
)
from importer.copying.changed import changed_source
from importer.copying.comparison.agent_disk import agent_disk, command
from importer.copying.comparison.update import update
from importer.copying.methods import DiskWork
from importer.copying.moving import MovingSource
from importer.copying.rate import LimitedSource, Rate
from importer.copying.several import DiskCopy, copy_all
from importer.errors import CopiesFailed, CopiesStopped
from importer.host.connection import KvmHost
from node.errors import KitError
from node.service import serving_binary

# Programs may read the volumes: lvm(8), udev.
OPTIONS = CopyOptions(verify=True, readers_allowed=True)


@dataclass(frozen=True)
class Export:
    """A disk that an NBD server on the KVM host exports.

    Attributes:
        local: a unix socket of this node that leads there.
        remote: the server's socket on the KVM host.
        name: of the export.
        bitmap: the exported dirty bitmap; "" without one.
        moves: whether a running guest may change it meanwhile.
    """

    local: Path
    remote: str
    name: str = ""
    bitmap: str = ""
    moves: bool = False


@dataclass(frozen=True)
class Piece:
    """A disk of a pass, where it is read, and the volume that it is written to."""

    work: DiskWork
    export: Export
    volume: Path

    @property
    def target(self) -> str:
        """The disk's name in the domain, such as vda."""
        return self.work.disk.target


@dataclass(frozen=True)
class Carried:
    """What a pass has carried: bytes and seconds.

    Attributes:
        wire: bytes that crossed the wire, about.
        copied, copy_seconds: of disks that were copied.
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
        again = {piece.target for piece in pieces}
        results: dict[str, CopyResult] = {}
        compared = Carried()
        try:
            results |= self._copies(pieces, again, resume=self.resume)
        except CopiesFailed as failed:
            complete = again - failed.failures.keys()
            done(sorted(complete))
            # The guest has changed the first bytes of a disk since: its copy begins anew.
            anew = _failed_by(failed, ResumeMismatch)
            # A comparison was interrupted: what the volume holds is known only by another one.
            unknown = _failed_by(failed, BaseIncomplete)
            if not anew | unknown:
                raise
            results |= self._copies(pieces, anew, resume=False)
            results |= self._copies(pieces, again - complete - anew - unknown, resume=True)
            for piece in pieces:
                if piece.target in unknown:
                    compared += self._compare(piece)
                    done([piece.target])
        except CopiesStopped as stopped:
            done(sorted(name for name, left in stopped.left.items() if left.complete))
            raise
        done(sorted(results))
        copied = sum(each.plan.extents.get(Kind.DATA, 0) for each in results.values())
        seconds = time.monotonic() - began - compared.compare_seconds
        return compared + Carried(copied, copied, seconds)

    def _copies(
        self, pieces: Sequence[Piece], targets: set[str], *, resume: bool
    ) -> dict[str, CopyResult]:
        """Copies those with these targets."""
        with ExitStack() as stack:
            copies = []
            for piece in pieces:
                if piece.target not in targets:
                    continue
                source = stack.enter_context(self._source(piece))
                options = (
                    replace(OPTIONS, increment=True)
                    if piece.work.work == "changes"
                    else replace(OPTIONS, force=True, resume=resume)
                )
                copies.append(DiskCopy(piece.target, source, piece.volume, options))
            return copy_all(copies, self.progress) if copies else {}

    @contextmanager
    def _source(self, piece: Piece) -> Iterator[Source]:
        export = piece.export
        from converter import nbd_source, unix_uri  # they load libnbd

        uri = unix_uri(str(export.local), export.name)
        name = f"{self.origin['domain']} disk {piece.target}"
        origin = {**self.origin, "disk": piece.target}
        opening: AbstractContextManager[Source] = nbd_source(uri, name=name, origin=origin)
        if piece.work.work == "changes":
            opening = changed_source(uri, export.bitmap, name=name, origin=origin)
        with ExitStack() as stack:
            with self.host.first_use(name):
                source = stack.enter_context(opening)
            _require_size(name, source.size, piece)
            if export.moves:
                source = MovingSource(source)
            yield source if self.rate is None else LimitedSource(source, self.rate)

    def _compare(self, piece: Piece) -> Carried:
        began = time.monotonic()
        name = f"{self.origin['domain']} disk {piece.target}"
        what = f"agent on {self.host.name}"
        with (
            serving_binary(self.host.command(command()), what=what) as program,
            agent_disk(program, piece.export.remote, piece.export.name, name) as disk,
        ):
            _require_size(name, disk.size, piece)
            found = update(
                *(disk, piece.volume, OPTIONS, self.progress),
                throttle=self.rate.take if self.rate is not None else lambda _: None,
                moves=piece.export.moves,
            )
        seconds = time.monotonic() - began
        return Carried(found.wire, compared=found.compared.compared, compare_seconds=seconds)


def _failed_by(failed: CopiesFailed, kind: type[KitError]) -> set[str]:
    """The disks whose copies failed by an error of a kind."""
    return {name for name, error in failed.failures.items() if isinstance(error, kind)}


def _require_size(name: str, size: int, piece: Piece) -> None:
    """Checks that a server exports all of a disk: a part of it would count as a complete copy.

    Raises:
        KitError: it has another size than in the plan.
    """
    planned = piece.work.disk.size
    if size != planned:
        raise KitError(
            f"source {name}: {size} bytes, but {planned} in the plan",
            hint="its size has changed since the plan was made: make a new plan",
        )
