"""Opens disks on the KVM host for a pass: over NBD, or by the agent there."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from converter import CopyResult, Kind, Source, SourceLost
from importer.copying.changed import changed_source
from importer.copying.comparison.agent_disk import AgentDisk, agent_disk, command
from importer.copying.comparison.agent_source import READERS, all_of
from importer.copying.methods import DiskWork
from importer.copying.moving import MovingSource
from importer.copying.rate import LimitedSource, Rate
from importer.host.connection import KvmHost
from node.errors import KitError
from node.log import log
from node.service import serving_binary

# For an agent to end. Of a copy by several agents, each has a session of the connection, and one
# that has not ended could keep the next program there from starting.
ENDING_SECONDS = 1.0


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


class Opened(NamedTuple):
    """A disk as a source, and the agent that reads it, if it is not read over NBD."""

    source: Source
    agent: AgentDisk | None = None

    def wire(self, copied: CopyResult) -> int:
        """The bytes that crossed the wire for its copy, about."""
        if self.agent is not None:
            return self.agent.on_the_wire
        return copied.plan.extents.get(Kind.DATA, 0)


@dataclass(frozen=True)
class Opener:
    """Opens disks.

    Attributes:
        host: the KVM host.
        origin: what identifies the domain, and the state of its disks.
        rate: that all disks share, or None for no limit.
    """

    host: KvmHost
    origin: Mapping[str, str]
    rate: Rate | None = None

    @contextmanager
    def source(self, piece: Piece) -> Iterator[Opened]:
        """A disk to be copied: all of it, or its changes.

        Raises:
            SourceLost: the connection is lost.
            KitError: it cannot be read.
        """
        with ExitStack() as stack:
            opened = self._by_agent(piece, stack) if piece.work.by_agent else None
            if opened is None:
                opened = Opened(stack.enter_context(self._over_nbd(piece)))
            if piece.export.moves:
                opened = opened._replace(source=MovingSource(opened.source))
            yield opened

    @contextmanager
    def agent(self, piece: Piece, grace: float = 0.0) -> Iterator[AgentDisk]:
        """A disk as an agent reads it.

        Args:
            piece: the disk.
            grace: seconds that the agent may take to end.

        Raises:
            SourceLost: the agent does not start.
            KitError: it cannot open the disk.
        """
        argv = self.host.command(command())
        what = f"agent on {self.host.name}"
        with (
            serving_binary(argv, what=what, grace=grace) as program,
            agent_disk(program, piece.export.remote, piece.export.name, self._name(piece)) as disk,
        ):
            _require_size(disk.name, disk.size, piece)
            yield disk

    def _by_agent(self, piece: Piece, stack: ExitStack) -> Opened | None:
        """All of a disk without its zeros; None if no agent starts: it is not needed.

        That host may have no Python, or its SSH server may let in no more sessions.
        """
        try:
            agent = stack.enter_context(self.agent(piece, ENDING_SECONDS))
        except SourceLost as error:
            if self.host.is_lost():
                raise
            log.warning("%s; it is read without: its zeros cross the wire, too", error.message)
            return None
        if self.rate is None:
            return Opened(all_of(agent, self._origin(piece)), agent)
        limits = (self.rate.take, self.rate.readers(READERS))
        return Opened(all_of(agent, self._origin(piece), *limits), agent)

    @contextmanager
    def _over_nbd(self, piece: Piece) -> Iterator[Source]:
        from converter import nbd_source, unix_uri  # they load libnbd

        export, name, origin = piece.export, self._name(piece), self._origin(piece)
        uri = unix_uri(str(export.local), export.name)
        opening: AbstractContextManager[Source] = nbd_source(uri, name=name, origin=origin)
        if piece.work.work == "changes":
            opening = changed_source(uri, export.bitmap, name=name, origin=origin)
        with ExitStack() as stack:
            with self.host.first_use(name):
                source = stack.enter_context(opening)
            _require_size(name, source.size, piece)
            yield source if self.rate is None else LimitedSource(source, self.rate)

    def _name(self, piece: Piece) -> str:
        return f"{self.origin['domain']} disk {piece.target}"

    def _origin(self, piece: Piece) -> Mapping[str, str]:
        return {**self.origin, "disk": piece.target}


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
