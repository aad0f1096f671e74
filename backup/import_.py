"""`import`: a stream on stdin becomes a disk of an instance."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backup import kinds, restoring
from backup.disks.held_back import HeldBack, held_back
from backup.disks.raw_size import HEAD, stated_size
from backup.kinds import Kind
from backup.requests import Request
from backup.restoring import RawRestorer, StreamRestorer
from backup.streams import stream
from backup.streams.frames import Frames
from backup.streams.stream import Header, StreamError
from converter import paths
from converter.buffers import buffer
from converter.progress import Progress
from converter.target.device import Target, open_target
from node.errors import KitError
from node.files import write_whole
from node.log import log
from node.text import size

NAME = "the stream on stdin"
# Heads of disks that were whole when the end of their stream turned out to be damaged.
HEADS = Path("/var/lib/ganeti-instance-kit/heads")


def import_(request: Request, fd: int, progress: Progress) -> None:
    """Restores a disk; where it fails, the disk begins with zeros, and looks like none.

    Raises:
        KitError: the stream is damaged or does not fit, or the disk cannot be written.
    """
    with _in_words(request):
        frames = Frames(fd, NAME)
        begun = frames.peek(HEAD)
        kind = kinds.recognised(begun)
        if kind is None:
            raise StreamError(
                "it is empty" if not begun else "by its first bytes it is no backup that is known"
            )
        if kind not in _IMPORTS:
            raise StreamError(f"it is {kind.value}, which cannot be imported")
        log.info("%s is %s", NAME, kind.value)
        paths.found(request.device, "target")
        target = open_target(request.device, size_needed=0, force=True, allow_file=True)
        with target as opened:
            _IMPORTS[kind](request, frames, opened, progress)


@contextmanager
def _in_words(request: Request) -> Iterator[None]:
    """Makes an error for people of what is wrong with a stream."""
    try:
        yield
    except StreamError as error:
        raise KitError(
            f"import of disk {request.index} of {request.instance}: {NAME}: {error}",
            hint="take another backup, or export again; if nothing came: is the dump's file there,"
            " and what does the exporting node's log say?",
        ) from error


def _kit(request: Request, frames: Frames, target: Target, progress: Progress) -> None:
    """Of our own stream: see `backup.streams.stream` for the order of its parts."""
    first = frames.next(buffer(1))
    if not isinstance(first, bytes):
        raise StreamError("it has no header")
    header = stream.decode_header(first)
    _require_fit(request, target, header)
    log.info("%s: a disk of %s, exported by %s", *_described(header))
    with held_back(target, header.disk_size) as held:
        restorer = StreamRestorer(frames, header, held)
        restoring.run(restorer, frames, progress, header.disk_size)
        restorer.require_whole()
        held.complete()
        held.finish()
        # From here on the sender may see its stream read to the end, and remove its disk.
        with _head_kept(request, held):
            last = frames.next(buffer(1))
            if not isinstance(last, bytes):
                raise StreamError("there is a frame behind its trailer")
            stream.require_end(last)
            frames.require_nothing_behind()
    log.info("%s: written, flushed and read back", target.name)


def _described(header: Header) -> tuple[str, str, str]:
    disk = f"disk {header.disk.get('index', '?')} of {header.instance}"
    return disk, size(header.disk_size), f"ganeti-instance-kit {header.kit}"


def _require_fit(request: Request, target: Target, header: Header) -> None:
    """Raises KitError where the disk is too small; nothing was written then."""
    if not header.disk_size or not 0 <= header.smallest <= header.disk_size:
        raise StreamError("its header is damaged: its sizes are not possible")
    # Streams whose header does not tell need as much as the disk had.
    needed = header.smallest or header.disk_size
    if target.size < needed:
        mebibytes = -(-needed // (1 << 20))
        raise KitError(
            f"import of disk {request.index} of {request.instance}: the disk has {target.size}"
            f" bytes ({size(target.size)}), and this backup needs {needed}",
            hint=f"the smallest disk that works: --disk {request.index}:size={mebibytes}M",
        )


@contextmanager
def _head_kept(request: Request, held: HeldBack) -> Iterator[None]:
    """Where the rest of the stream is wrong, keeps what the failure takes from a whole disk.

    All of the disk was right by then. Nothing that looks whole may stay, and yet it may be the only
    copy: where a network breaks in the last moment, the sender believes that all has arrived.
    """
    try:
        yield
    except BaseException:
        path = HEADS / f"{request.instance}-disk{request.index}-{os.getpid()}"
        with suppress(OSError):
            HEADS.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, held.head, mode=0o600, durable=True)
            log.warning(
                "the disk was whole, but its stream did not end well: its first MiB is kept in %s;"
                " dd if=%s of=%s bs=1M conv=notrunc puts it back",
                *(path, path, request.device),
            )
        raise


def _raw(request: Request, frames: Frames, target: Target, progress: Progress) -> None:
    """Of a raw disk: whether it is whole is told by its partition table or file system alone."""
    needed = stated_size(frames.peek(HEAD), target.size)
    if needed is None:
        raise StreamError("by its first bytes it is no disk of a size that is known")
    _require_fit(request, target, Header(disk_size=needed, kit=""))
    with held_back(target, target.size) as held:
        restorer = RawRestorer(frames, target.size, held)
        restoring.run(restorer, frames, progress, needed)
        if restorer.end < needed:
            raise StreamError(f"it ends after {restorer.end} bytes of a disk of {needed} bytes")
        held.zeros(restorer.end, target.size - restorer.end)
        held.complete()
        held.finish()
    log.info("%s: written, flushed and read back", target.name)


_Import = Callable[[Request, Frames, Target, Progress], None]
# Kind.DUMP: not yet.
_IMPORTS: dict[Kind, _Import] = {Kind.KIT: _kit, Kind.RAW: _raw}
