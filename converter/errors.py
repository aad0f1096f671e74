"""The errors of a copy, one type for each kind that a caller may want to handle.

Their hints hold for every caller. If the remedy is an option of a command line, that command line
replaces the hint (qcow2raw: `converter.cli.hints`), with the values that the error carries.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.cleanup import Terminated
from node.errors import KitError
from node.text import size as in_words

FROM_THE_BEGINNING = "find out what caused that; then copy from the beginning"


class TargetMissing(KitError):
    """There is nothing at the target's path, and no file may be created."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"target {path}: it does not exist",
            hint="lvs lists volumes; lvchange -ay VG/LV makes one active",
        )


class TargetIsFile(KitError):
    """The target is a regular file, but a block device is required."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"target {name}: a file, not a block device",
            hint="name a block device, or allow the target to be a file",
        )


class TargetTooSmall(KitError):
    """The target has `size` bytes, but `needed` bytes are needed."""

    def __init__(self, path: Path, name: str, size: int, needed: int) -> None:
        missing = needed - size
        super().__init__(
            f"target {name}: {missing} bytes ({in_words(missing)}) too small: it has {size}, the"
            f" image {needed}",
            hint=f"a larger target is needed; to enlarge an LV: lvextend --size {needed}b {path}",
        )
        self.size = size
        self.needed = needed


class TargetInUse(KitError):
    """Something uses the target: a mount, a device on top of it, a running guest."""


class TargetIsSource(KitError):
    """The target is the source, or one of the two is stored on the other."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"target {name}: {why}", hint="name another target")


class TargetNotEmpty(KitError):
    """The target is not empty; `holds` describes its content in words."""

    def __init__(self, name: str, holds: str) -> None:
        super().__init__(
            f"target {name}: it holds {holds}",
            hint="if it is not needed, allow it to be overwritten; to see details: blkid -p,"
            " wipefs --no-act",
        )
        self.holds = holds


class TargetFailed(KitError):
    """The target could not be written, read or flushed."""


class TargetLost(KitError):
    """The target was removed, replaced or made smaller after it was opened."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"target {name}: {why}", hint=FROM_THE_BEGINNING)


class VerificationFailed(KitError):
    """The data read back from the target is not the data that was written."""

    def __init__(self, path: Path, where: str) -> None:
        super().__init__(
            f"verification of {path}: what was read back {where} is not what was written",
            hint="the target's disk or the connection to it is faulty: see dmesg, and use another",
        )


class SourceInUse(KitError):
    """Something may write to the source."""


class SourceChanged(KitError):
    """The source was written to or replaced while it was copied."""


class SourceLost(KitError):
    """The server that the source is read from cannot be reached or does not answer any more."""

    def __init__(self, message: str, hint: str = "check the server and the network") -> None:
        super().__init__(message, hint)


class ContextMissing(KitError):
    """The NBD server does not offer a meta context, such as that of a dirty bitmap."""

    def __init__(self, name: str, context: str) -> None:
        super().__init__(
            f"source {name}: its server does not offer the meta context {context}",
            hint="is there such a bitmap, and does the server export it? nbdinfo --list URI tells",
        )


class FormatMismatch(KitError):
    """The source's first bytes do not fit the format that it is opened as.

    Args:
        name: of the source.
        why: the reason in words.
        fits: the format that it seems to have.
        is_default: whether that format is the default when none is given.
        is_certain: whether its first bytes are the magic of that format (raw disks have no magic).
    """

    def __init__(
        self, name: str, why: str, *, fits: str, is_default: bool, is_certain: bool
    ) -> None:
        super().__init__(f"source {name}: {why}", hint=f"if it is {fits}, name that format")
        self.fits = fits
        self.is_default = is_default
        self.is_certain = is_certain


class FormatUnknown(KitError):
    """The given format is not one that sources can have."""

    def __init__(self, name: str, image_format: str, known: Sequence[str]) -> None:
        super().__init__(
            f"source {name}: format {image_format}: unknown",
            hint=f"known formats: {', '.join(known)}; convert the image to one of these where it"
            " comes from: qemu-img convert -O qcow2",
        )


class FormatConflict(KitError):
    """The source's name states a format, and a different one is given."""

    def __init__(self, name: str, why: str, hint: str) -> None:
        super().__init__(f"source {name}: {why}", hint)


class ImageRefused(KitError):
    """The source is damaged, needs other files, or is encrypted."""


class HibernatedSwap(KitError):
    """The source's swap holds a hibernated system, so it must not be made anew."""

    def __init__(self, name: str, start: int, how: str) -> None:
        super().__init__(
            f"source {name}: a hibernated system is in its swap at byte {start} ({how})",
            hint="start it again and shut it down first; or copy the swap as it is",
        )


class SwapNotMade(KitError):
    """mkswap did not make the header that is needed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="see `mkswap --version`; or copy the swap as it is")


class NotOneSwapArea(KitError):
    """The source has `count` swap areas, but exactly one is needed."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__(
            f"source {name}: it has {count or 'no'} swap areas, not one",
            hint="copy all of it instead, or name another source",
        )


class ResumeMismatch(KitError):
    """An interrupted copy cannot go on: its source, target or options changed.

    Args:
        target: its path.
        why: the reason in words.
        journal: the journal of the interrupted copy, if that wrote to another target: it stays
            until the user removes it. A copy from the beginning replaces this target's own journal.
        is_certain: whether it is known if this is the target of the interrupted copy.
    """

    def __init__(
        self, target: Path, why: str, *, journal: Path | None = None, is_certain: bool = True
    ) -> None:
        remove = f"; remove {journal}, if that copy need not go on" if journal else ""
        super().__init__(
            f"copy to {target}: it cannot go on: {why}", hint=f"copy from the beginning{remove}"
        )
        self.journal = journal
        self.is_certain = is_certain


class BaseIncomplete(KitError):
    """The target's earlier copy was interrupted, so changes alone do not make it complete."""

    def __init__(self, target: Path) -> None:
        super().__init__(
            f"copy of changes to {target}: an earlier copy of the whole disk is not complete",
            hint="let that one go on, or copy or compare all of it again",
        )


class NotInspectable(KitError):
    """The appliance cannot open the source, so its guest's files cannot be read."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"source {name}: the appliance reads local raw and qcow2 images only",
            hint="copy it first, and inspect the copy as a raw disk",
        )


@dataclass(frozen=True)
class TargetState:
    """The state of a target after a copy that failed or was stopped.

    Attributes:
        complete: all data is on the disk; what failed came after that.
        resumable_at: the byte at which a resumed copy goes on; None: it starts at the beginning.
    """

    complete: bool = False
    resumable_at: int | None = None


class CopyFailed(KitError):
    """The copy failed after it had begun to write the target.

    Attributes:
        cause: the error; if it is a KitError, it has the message and the hint.
        left: the state of the target.
    """

    def __init__(self, cause: Exception, left: TargetState) -> None:
        if isinstance(cause, KitError):
            super().__init__(cause.message, cause.hint)
        else:
            super().__init__(f"{type(cause).__name__}: {cause}", hint="fix that, and copy again")
        self.cause = cause
        self.left = left


class CopyStopped(Terminated):
    """A signal stopped the copy after it had begun to write; `left` is the target's state."""

    def __init__(self, number: int, left: TargetState) -> None:
        super().__init__(number)
        self.left = left


@contextmanager
def telling_what_is_left(left: Callable[[], TargetState | None]) -> Iterator[None]:
    """Turns an error inside into CopyFailed or CopyStopped, unless `left` returns None.

    Args:
        left: returns the target's state; None if it was not touched.
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
