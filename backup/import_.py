"""A stream becomes a disk."""

import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backup import kinds, restoring
from backup.disks.held_back import HeldBack, held_back
from backup.disks.raw_size import HEAD, stated_size
from backup.errors import DiskTooSmallError, StreamRefusedError
from backup.kinds import Kind
from backup.options import ImportOptions
from backup.restoring import RawRestorer, Sink, StreamRestorer
from backup.shrinking.copying import copy
from backup.shrinking.plan import CannotShrinkError, planned
from backup.shrinking.shrink import shrink
from backup.shrinking.spool import spooled
from backup.streams.frames import Frames
from backup.streams.stream import MAX_DISK, Header, StreamError
from converter.progress import Progress
from converter.target.device import Target, open_target
from node.appliance import require_installed
from node.errors import KitError
from node.files import write_whole
from node.log import log
from node.text import size

# Heads of disks that were whole when the end of their stream turned out to be damaged.
HEADS = Path("/var/lib/ganeti-instance-kit/heads")


def begun(options: ImportOptions, fd: int) -> tuple[Frames, Kind]:
    """The stream on a descriptor, and its kind.

    Args:
        options: the task.
        fd: a pipe or file.

    Raises:
        StreamRefusedError: it is of no kind that is known.
    """
    with in_words(options.what, options.stream):
        frames = Frames(fd, options.stream)
        kind = kinds.require_known(frames.peek(HEAD))
        log.info("%s is %s", options.stream, kind.value)
        return frames, kind


def import_(options: ImportOptions, frames: Frames, kind: Kind, progress: Progress) -> None:
    """Restores a disk from a stream of the kit or a raw one; `backup.dumps` does it from a dump.

    Where it fails, the disk begins with zeros, and looks like none.

    Args:
        options: the disk, and what may be done with it.
        frames: the stream.
        kind: of the stream.
        progress: is told of it.

    Raises:
        StreamRefusedError: the stream is damaged.
        DiskTooSmallError: it does not fit; nothing was written.
        KitError: it is a dump; or the disk cannot be written, or must not.
    """
    if kind not in _IMPORTS:
        raise KitError(
            f"{options.what}: {options.stream}: it is {kind.value}",
            hint="gnt-backup import restores such backups: it makes the guest bootable again",
        )
    with in_words(options.what, options.stream), _opened(options, frames, kind) as opened:
        _IMPORTS[kind](options, frames, opened, progress)


@contextmanager
def in_words(what: str, name: str) -> Iterator[None]:
    """Makes an error for people of what is wrong with a stream.

    Args:
        what: the task.
        name: of the stream.
    """
    try:
        yield
    except StreamError as error:
        raise StreamRefusedError(what, name, error) from error


@contextmanager
def _opened(options: ImportOptions, frames: Frames, kind: Kind) -> Iterator[Target]:
    """The target. A new file gets the size of the disk; all else keeps its own."""
    status = frames.status()
    is_here = stat.S_ISREG(status.st_mode)
    is_new = not Path(options.device).exists()
    with open_target(
        options.device,
        size_needed=_disk_size(kind, frames) if is_new and options.allow_file else 0,
        force=options.force,
        allow_file=options.allow_file,
        source=status if is_here else None,
        confirm=options.confirm,
    ) as target:
        yield target


def _disk_size(kind: Kind, frames: Frames) -> int:
    """Bytes of the disk in a stream, of which nothing but the beginning is read.

    Raises:
        StreamError: the stream does not state it.
    """
    if kind is Kind.KIT:
        return restoring.header(frames.peek_skippable()).disk_size
    size_stated = stated_size(frames.peek(HEAD), 1 << 62) if kind is Kind.RAW else None
    if size_stated is None or size_stated > MAX_DISK:
        raise StreamError("it does not state the size of its disk: make a file of that size first")
    return size_stated


def _kit(options: ImportOptions, frames: Frames, target: Target, progress: Progress) -> None:
    """Of our own stream: see `backup.streams.stream` for the order of its parts."""
    header = restoring.read_header(frames)
    shrunk = _is_shrunk(options, target, header)
    log.info("%s: a disk of %s, exported by %s", *_described(header))
    with ExitStack() as stack:
        if not shrunk:
            held = stack.enter_context(held_back(target, header.disk_size))
            _restore(frames, header, held, progress)
        else:
            spool = stack.enter_context(spooled(header, target.size))
            _restore(frames, header, spool, progress)
            with _sized(options, target, header):
                shrink(spool, header, target.size, use_kvm=options.use_kvm)
            held = stack.enter_context(held_back(target, target.size))
            with spool.source() as source:
                copy(source, held, progress)
        held.complete()
        held.finish()
        # From here on the sender may see its stream read to the end, and remove its disk.
        with _head_kept(options, held):
            restoring.require_end(frames)
    log.info("%s: written and flushed", target.name)


def _restore(frames: Frames, header: Header, sink: Sink, progress: Progress) -> None:
    """Writes all frames up to the trailer, which must be right."""
    restorer = StreamRestorer(frames, header, sink)
    restoring.run(restorer, frames, progress, "import", header.disk_size)
    restorer.require_whole()


def _described(header: Header) -> tuple[str, str, str]:
    disk = f"disk {header.disk.get('index', '?')} of {header.instance}"
    return disk, size(header.disk_size), f"ganeti-instance-kit {header.kit}"


def _is_shrunk(options: ImportOptions, target: Target, header: Header) -> bool:
    """Whether the disk must be shrunk for the target.

    Raises:
        DiskTooSmallError: it does not fit so, either; nothing was written then.
    """
    # Streams whose header does not tell need as much as the disk had.
    if target.size >= (header.smallest or header.disk_size):
        return False
    with _sized(options, target, header):
        if planned(header, target.size).area.type != "swap":
            require_installed()
    return True


@contextmanager
def _sized(options: ImportOptions, target: Target, header: Header) -> Iterator[None]:
    """Makes an error for people of why a disk cannot be shrunk."""
    try:
        yield
    except CannotShrinkError as error:
        raise DiskTooSmallError(
            options.what,
            target.size,
            header.smallest or header.disk_size,
            why=str(error),
            smallest=error.smallest or header.disk_size,
            likely=error.likely,
        ) from error


@contextmanager
def _head_kept(options: ImportOptions, held: HeldBack) -> Iterator[None]:
    """Where the rest of the stream is wrong, keeps what the failure takes from a whole disk.

    All of the disk was right by then. Nothing that looks whole may stay, and yet it may be the only
    copy: where a network breaks in the last moment, the sender believes that all has arrived.
    """
    try:
        yield
    except BaseException:
        if not keep_head(options, held.head, "the disk is whole, but its stream did not end well"):
            held.leave()
        raise


def keep_head(options: ImportOptions, head: bytes, what: str) -> bool:
    """Keeps the first MiB of a disk that has all that came, before a failure makes it zero.

    Args:
        options: the disk.
        head: its first MiB.
        what: in words: what the disk has, and what has failed.

    Returns:
        Whether it is kept. If not, the disk must stay as it is: it may be the only copy.
    """
    moment = time.strftime("%Y%m%dT%H%M%S")
    path = HEADS / f"{options.key}-{moment}"
    try:
        HEADS.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, head, mode=0o600, durable=True)
    except OSError as error:
        log.warning(
            "%s: it stays as it is, as its first MiB cannot be kept in %s: %s",
            *(what, HEADS, error.strerror),
        )
        return False
    log.warning(
        "%s: its first MiB is kept in %s; dd if=%s of=%s bs=1M conv=notrunc puts it back",
        *(what, path, path, options.device),
    )
    return True


def _raw(options: ImportOptions, frames: Frames, target: Target, progress: Progress) -> None:
    """Of a raw disk: whether it is whole is told by its partition table or file system alone."""
    needed = stated_size(frames.peek(HEAD), target.size)
    if needed is None:
        raise StreamError("its first bytes do not tell how large the disk is")
    _is_shrunk(options, target, Header(disk_size=needed, kit=""))  # never: no area is known
    with held_back(target, target.size) as held:
        restorer = RawRestorer(frames, target.size, held)
        restoring.run(restorer, frames, progress, "import", needed)
        restorer.require_whole(needed)
        held.zeros(restorer.end, target.size - restorer.end)
        held.complete()
        held.finish()
    log.info("%s: written and flushed", target.name)


_Import = Callable[[ImportOptions, Frames, Target, Progress], None]
_IMPORTS: dict[Kind, _Import] = {Kind.KIT: _kit, Kind.RAW: _raw}
