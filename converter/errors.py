"""What can keep a copy from being made, as types that a caller can tell apart.

Their hints hold for every caller. Where the remedy is an option of a command line, that one gives
a hint of its own instead (qcow2raw: `converter.cli.hints`), from the facts that the error has.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.cleanup import Terminated
from node.errors import KitError
from node.text import size as in_words

FROM_THE_BEGINNING = "find out what did that; then copy from the beginning"


class TargetMissing(KitError):
    """There is nothing at the target's path, and no file is to be made."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"target {path}: it does not exist",
            hint="lvs lists volumes; lvchange -ay VG/LV makes one active",
        )


class TargetIsFile(KitError):
    """The target is a regular file, and a block device is wanted."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"target {name}: a file, not a block device",
            hint="name a block device, or allow the target to be a file",
        )


class TargetTooSmall(KitError):
    """The target has `size` bytes, and `needed` are."""

    def __init__(self, path: Path, name: str, size: int, needed: int) -> None:
        missing = needed - size
        super().__init__(
            f"target {name}: {missing} bytes ({in_words(missing)}) too small: it has {size}, the"
            f" image {needed}",
            hint=f"a larger one is needed; of an LV: lvextend --size {needed}b {path}",
        )
        self.size = size
        self.needed = needed


class TargetInUse(KitError):
    """Something uses the target: a mount, a device on top of it, a guest that runs."""


class TargetIsSource(KitError):
    """The target is the source, or one of them is stored on the other."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"target {name}: {why}", hint="name another target")


class TargetNotEmpty(KitError):
    """The target holds something: `holds`, in words."""

    def __init__(self, name: str, holds: str) -> None:
        super().__init__(
            f"target {name}: it holds {holds}",
            hint="if that can go, allow it to be overwritten; to see more of it: blkid -p,"
            " wipefs --no-act",
        )
        self.holds = holds


class TargetFailed(KitError):
    """The target could not be written, read or flushed."""


class TargetLost(KitError):
    """The target was removed, replaced or made smaller since it was opened."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"target {name}: {why}", hint=FROM_THE_BEGINNING)


class VerificationFailed(KitError):
    """What was read back from the target is not what was written."""

    def __init__(self, path: Path, where: str) -> None:
        super().__init__(
            f"verification of {path}: what was read back {where} is not what was written",
            hint="the target's disk or its path to it is faulty: see dmesg, and use another",
        )


class SourceInUse(KitError):
    """Something may write to the source."""


class SourceChanged(KitError):
    """The source was written to, or replaced, while it was copied."""


class SourceLost(KitError):
    """The server that the source is read from does not answer, or the connection broke."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="see to the server and the network")


class FormatMismatch(KitError):
    """By its first bytes, the source is of another format than it is opened as.

    Args:
        name: of the source.
        why: in words.
        fits: the format that it seems to have.
        is_default: whether that one is taken where no format is given.
        is_certain: whether its first bytes are those of that format (raw disks have none).
    """

    def __init__(
        self, name: str, why: str, *, fits: str, is_default: bool, is_certain: bool
    ) -> None:
        super().__init__(f"source {name}: {why}", hint=f"if it is {fits}, name that format")
        self.fits = fits
        self.is_default = is_default
        self.is_certain = is_certain


class FormatUnknown(KitError):
    """No source can be opened as this format."""

    def __init__(self, name: str, image_format: str, known: Sequence[str]) -> None:
        super().__init__(
            f"source {name}: format {image_format}: unknown",
            hint=f"known are {', '.join(known)}; make it one of these where it comes from:"
            " qemu-img convert -O qcow2",
        )


class FormatConflict(KitError):
    """The source's name says of which format it is, and another one is given."""

    def __init__(self, name: str, why: str, hint: str) -> None:
        super().__init__(f"source {name}: {why}", hint)


class ImageRefused(KitError):
    """The source is no sound image of its format, needs other files, or is encrypted."""


class HibernatedSwap(KitError):
    """A system is asleep in the source's swap: that must not be made anew."""

    def __init__(self, name: str, start: int, how: str) -> None:
        super().__init__(
            f"source {name}: a hibernated system is in its swap at byte {start} ({how})",
            hint="start it again and shut it down first; or copy the swap as it is",
        )


class SwapNotMade(KitError):
    """mkswap does not make the header that is needed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="see `mkswap --version`; or copy the swap as it is")


class NotOneSwapArea(KitError):
    """The source has `count` swap areas, and one is needed."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__(
            f"source {name}: it has {count or 'no'} swap areas, not one",
            hint="copy all of it instead, or name another source",
        )


class ResumeMismatch(KitError):
    """An interrupted copy cannot go on: its source, target or options are not what they were.

    Args:
        target: its path.
        why: in words.
        journal: the file that says so of another target; it stays until someone removes it.
    """

    def __init__(self, target: Path, why: str, *, journal: Path | None = None) -> None:
        remove = f"; and remove {journal}, if that copy is not to go on" if journal else ""
        super().__init__(
            f"copy to {target}: it cannot go on: {why}", hint=f"copy from the beginning{remove}"
        )
        self.journal = journal


class NotInspectable(KitError):
    """The appliance cannot open the source, so the files of its guest cannot be read."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"source {name}: the appliance reads local raw and qcow2 images only",
            hint="copy it first, and inspect the copy as a raw disk",
        )


@dataclass(frozen=True)
class TargetState:
    """What a copy left of a target that it began to write.

    Attributes:
        complete: all is there, and on the disk: what failed came after that.
        resumable_at: a copy that resumes goes on at this byte; None: it begins at the beginning.
    """

    complete: bool = False
    resumable_at: int | None = None


class CopyFailed(KitError):
    """What failed did so after the target was begun to be written.

    Attributes:
        cause: why; it has the message and the hint, if it is a KitError.
        left: what is left of the target.
    """

    def __init__(self, cause: Exception, left: TargetState) -> None:
        if isinstance(cause, KitError):
            super().__init__(cause.message, cause.hint)
        else:
            super().__init__(f"{type(cause).__name__}: {cause}", hint="mend that, and copy again")
        self.cause = cause
        self.left = left


class CopyStopped(Terminated):
    """A signal came after the target was begun to be written; `left` is what is left of it."""

    def __init__(self, number: int, left: TargetState) -> None:
        super().__init__(number)
        self.left = left


@contextmanager
def telling_what_is_left(left: Callable[[], TargetState | None]) -> Iterator[None]:
    """What fails inside becomes CopyFailed or CopyStopped; not so where `left` gives None.

    Args:
        left: tells what is left of the target; None if it was not touched.
    """
    try:
        yield
    except (CopyFailed, CopyStopped):
        raise
    except (Exception, Terminated) as error:
        if (state := left()) is None:
            raise
        if isinstance(error, Terminated):
            raise CopyStopped(error.number, state) from error
        raise CopyFailed(error, state) from error
