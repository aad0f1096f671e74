"""Reads a stream to its end, and tells whether it is whole."""

from dataclasses import dataclass
from enum import Enum

from backup import kinds, restoring
from backup.disks.raw_size import HEAD, stated_size
from backup.dumps.reader import DumpReader
from backup.dumps.records import Inode
from backup.kinds import Kind
from backup.restoring import RawRestorer, StreamRestorer
from backup.streams.frames import Frames
from backup.streams.stream import MAX_DISK, Header, StreamError
from converter.progress import Progress


class State(Enum):
    """How a backup is."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    UNCERTAIN = "not verifiable"
    MISSING = "missing"
    UNREADABLE = "not readable"


@dataclass(frozen=True)
class Verdict:
    """What is known of a backup.

    Attributes:
        state: how it is.
        why: the reason, if it is not whole.
        kind: what it is; None if that is not known.
        header: what is in it, if it states that.
    """

    state: State
    why: str | None = None
    kind: Kind | None = None
    header: Header | None = None


class _Nothing:
    """Takes the content of a disk, and forgets it."""

    def data(self, start: int, view: memoryview) -> None:
        """Nothing."""

    def zeros(self, start: int, length: int) -> None:
        """Nothing."""


class _NoFiles:
    """Takes the files of a dump, and forgets them."""

    def __init__(self, frames: Frames, progress: Progress) -> None:
        self._frames = frames
        self._progress = progress

    def begin(self, _number: int, _inode: Inode, /) -> None:
        """Tells how far it is."""
        self._progress.update(self._frames.read_bytes)

    def data(self, _place: int, _view: memoryview, /) -> None:
        """Tells how far it is."""
        self._progress.update(self._frames.read_bytes)

    def attributes(self, _data: bytes, /) -> None:
        """Nothing."""


def verify(fd: int, name: str, progress: Progress) -> Verdict:
    """Reads a stream to its end; of ours, every frame, digest and figure is checked.

    A raw disk or a dump that is not all there is damaged. Nothing tells whether the rest is right.

    Args:
        fd: of the stream.
        name: what errors call it.
        progress: is told of it.

    Raises:
        StreamUnreadableError: it cannot be read.
        KitError: this process lacks something that it needs for that.
    """
    frames = Frames(fd, name)
    kind = header = None
    try:
        kind = kinds.require_known(frames.peek(HEAD))
        if kind is Kind.KIT:
            header = restoring.read_header(frames)
            _read_all(frames, header, progress)
            return Verdict(State.WHOLE, None, kind, header)
        if kind is Kind.RAW:
            _read_raw(frames, progress)
        else:
            _read_dump(frames, progress)
        return Verdict(State.UNCERTAIN, "it has no checksums of its content", kind)
    except StreamError as error:
        return Verdict(State.DAMAGED, str(error), kind, header)


def _read_all(frames: Frames, header: Header, progress: Progress) -> None:
    restorer = StreamRestorer(frames, header, _Nothing())
    restoring.run(restorer, frames, progress, "verify", header.disk_size)
    restorer.require_whole()
    restoring.require_end(frames)


def _read_raw(frames: Frames, progress: Progress) -> None:
    """Raises StreamError where a raw disk is shorter than it states."""
    needed = stated_size(frames.peek(HEAD), MAX_DISK) or 0
    restorer = RawRestorer(frames, MAX_DISK, _Nothing())
    restoring.run(restorer, frames, progress, "verify", needed)
    restorer.require_whole(needed)


def _read_dump(frames: Frames, progress: Progress) -> None:
    """Raises StreamError where a record of a dump is missing, or a header is damaged."""
    progress.begin("verify", frames.status().st_size)  # of a pipe, 0
    try:
        reader = DumpReader(frames)
        reader.start()
        reader.inodes(_NoFiles(frames, progress))
    finally:
        progress.end()
