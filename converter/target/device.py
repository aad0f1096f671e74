"""The target: a block device or file that is checked, opened exclusively, and written."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path

from converter import paths
from converter.buffers import PAGE, buffer, direct_of_pages, is_aligned
from converter.errors import (
    TargetFailed,
    TargetInUse,
    TargetIsFile,
    TargetLost,
    TargetMissing,
    TargetTooSmall,
)
from converter.identity import Identity, identity_of
from converter.paths import Name
from converter.target import guards
from converter.target.facts import TargetFacts
from node.devices.claim import Backing, claimed, open_disk
from node.devices.lvm import LogicalVolume
from node.devices.settling import settled
from node.devices.stack import backing_id
from node.errors import KitError
from node.files import sync_directory

HEAD = 4096
LINK_SECONDS = 2.0


class Target:
    """An open target; all figures are bytes.

    Whole pages (PAGE) are written with direct I/O if the target supports it, all else through the
    page cache. Several threads may use both at once, as long as no two write into the same page:
    the page cache would write back what it read of that page before the other write.
    """

    def __init__(
        self,
        backing: Backing,
        size: int,
        facts: TargetFacts,
        *,
        created: bool = False,
        mode: int = os.O_RDWR,
    ) -> None:
        self.path = backing.path
        self.name = facts.name
        self.facts = facts
        self.fd = backing.fd
        self.size = size
        self.is_block = backing.is_block
        self.created = created  # a new file: it reads as zeros
        self._sized = self._begun = False
        self._flush_error: TargetFailed | None = None
        self._direct = direct_of_pages(self.fd, mode)

    @cached_property
    def identity(self) -> Identity:
        """What distinguishes it from every other file or device."""
        return identity_of(self.fd, self.size, self.facts.properties)

    @property
    def begun(self) -> bool:
        """Whether its content may have changed; for a new file, also once `sync` was called."""
        return self._begun

    def begin(self) -> None:
        """Gives a file its size; idempotent, and called before every write."""
        if self._sized:
            return
        if not self.is_block and os.fstat(self.fd).st_size < self.size:
            try:
                os.ftruncate(self.fd, self.size)
            except OSError as error:
                raise self._failed("enlarging", self.size, error) from error
            self._begun = self._begun or not self.created
        self._sized = True

    @contextmanager
    def change(self, offset: int, length: int) -> Iterator[None]:
        """Notes for `begun` whether the operation inside changes a range.

        After an error, something may have changed nevertheless. A range of up to one page is
        compared before and after; a larger range always counts as changed.
        """
        before = self._held(offset, length) if not self._begun and length <= PAGE else None
        if before is None:
            self._begun = True
        try:
            yield
        finally:
            self._begun = self._begun or self._held(offset, length) != before

    def _held(self, offset: int, length: int) -> bytes | None:
        view = buffer(PAGE)[:length]
        try:
            self.read_into(view, offset)
        except KitError:
            return None
        return view.tobytes()

    def write(self, view: memoryview, offset: int) -> None:
        """Writes a whole view, which must be writable (for its address); safe for threads.

        The first page is written alone, so that `change` can tell if the target accepts nothing.

        Raises:
            KitError: the write failed; the message names the byte.
        """
        self.begin()
        end = offset + len(view)
        if end > self.size:
            raise ValueError(f"{end} is beyond the target's end, {self.size}")
        if end == self.size:
            self.require_whole()  # a truncated file would get its old size again, with holes
        while len(view):
            part = view if self._begun else view[:PAGE]
            try:
                with self.change(offset, len(part)):
                    written = os.pwrite(self._descriptor(part, offset), part, offset)
                    if written == 0:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._begun = True
            except OSError as error:
                raise self._failed("write to", offset, error) from error
            view, offset = view[written:], offset + written

    def read_into(self, view: memoryview, offset: int) -> None:
        """Reads the target into a writable view; after a file's end, it reads zeros.

        Raises:
            KitError: the target cannot be read there.
        """
        while len(view):
            try:
                count = os.preadv(self._descriptor(view, offset), [view], offset)
                if count == 0 and self.is_block:
                    raise OSError(errno.EIO, "it ends there")
            except OSError as error:
                raise self._failed("read of", offset, error) from error
            if count == 0:
                view[:] = bytes(len(view))
                return
            view, offset = view[count:], offset + count

    def sync(self) -> None:
        """Flushes everything that was written to the disk.

        Raises:
            KitError: that failed. The kernel reports it only once, so later calls raise it again.
        """
        self.begin()
        self._begun = self._begun or self.created
        if self._flush_error is not None:
            raise self._flush_error
        try:
            os.fsync(self.fd)
            if self.created:
                sync_directory(self.path.parent)
        except OSError as error:
            self._flush_error = TargetFailed(
                f"flush of {self.name}: {error.strerror}", hint=guards.failure_hint(error)
            )
            raise self._flush_error from error

    def require_whole(self) -> None:
        """Checks that it still has its full size.

        Raises:
            KitError: it was made smaller since it was opened.
        """
        if (size := os.lseek(self.fd, 0, os.SEEK_END)) < self.size:
            raise TargetLost(self.name, f"it was cut to {size} bytes meanwhile; it had {self.size}")

    def require_in_place(self) -> None:
        """Checks that its path still leads to it, and that it has its full size.

        Raises:
            KitError: it was removed, replaced or made smaller since it was opened.
        """
        self.require_whole()
        # udev may be replacing the link of a device just now.
        deadline = time.monotonic() + (LINK_SECONDS if self.is_block else 0)
        while not self._is_where_its_name_leads():
            if time.monotonic() >= deadline:
                raise TargetLost(
                    self.name,
                    "it was removed or replaced meanwhile: its path does not lead to it any more",
                )
            time.sleep(0.1)

    def _is_where_its_name_leads(self) -> bool:
        try:
            return backing_id(self.path.stat()) == backing_id(os.fstat(self.fd))
        except OSError:
            return False

    def forget_cached(self) -> None:
        """Drops its clean pages from the page cache, so that verification reads the disk."""
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Closes the descriptor for direct I/O; `fd` stays open."""
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None

    def _descriptor(self, view: memoryview, offset: int) -> int:
        if self._direct is not None and is_aligned(view, offset):
            return self._direct
        return self.fd

    def _failed(self, what: str, offset: int, error: OSError) -> TargetFailed:
        return TargetFailed(
            f"{what} {self.name} at byte {offset}: {error.strerror}",
            hint=guards.failure_hint(error),
        )


@contextmanager
def open_target(
    path: Name,
    *,
    size_needed: int,
    force: bool = False,
    allow_file: bool = False,
    source: os.stat_result | None = None,
    is_ours: Callable[[Identity], bool] = lambda _: False,
    confirm: Callable[[str], bool] | None = None,
    new_volume: LogicalVolume | None = None,
    readers_allowed: bool = False,
) -> Iterator[Target]:
    """Opens a target exclusively; nothing is changed before the first write.

    A file that does not exist is created, and removed again if nothing was written. A file that is
    too small is enlarged by the first write.

    Args:
        path: the block device or file.
        size_needed: the size that it must have, bytes.
        force: whether its content may be overwritten.
        allow_file: whether it may be a file.
        source: the status of the source's file or device, if that is on this node.
        is_ours: whether the target with this identity holds an interrupted copy that is resumed:
            the signatures on it are then the image's own.
        confirm: asks the user; None if there is nobody to ask.
        new_volume: the volume that the path leads to, if it was created for this copy: nothing was
            ever written to it.
        readers_allowed: whether programs that only read it do not matter.

    Raises:
        KitError: it must not or cannot be written; nothing was.
    """
    existing = paths.found_or_none(path, "target")
    if existing is None:
        with _new_file(Path(path), size_needed, allow_file) as target:
            yield target
        return
    facts = TargetFacts(existing.path, paths.named(existing.path), existing.status, new_volume)
    path, name = facts.path, facts.name
    if not facts.is_block and not allow_file:
        raise TargetIsFile(name)
    if source is not None:
        guards.refuse_source(facts, source)
    guards.refuse_running(facts)
    with ExitStack() as stack:
        claim = claimed(
            path, name=f"target {name}", in_use=TargetInUse, readers_allowed=readers_allowed
        )
        backing = stack.enter_context(claim)
        if backing_id(os.fstat(backing.fd)) != facts.id:
            raise TargetLost(name, "it was replaced by something else meanwhile")
        if not backing.is_block:
            guards.require_size_allowed(name, size_needed)
        if backing.is_block and backing.size < size_needed:
            raise TargetTooSmall(path, name, backing.size, size_needed)
        target = Target(backing, max(backing.size, size_needed), facts)
        stack.enter_context(closing(target))
        if not is_ours(target.identity):
            _check_content(target, force=force, confirm=confirm)
        yield target


def _check_content(target: Target, *, force: bool, confirm: Callable[[str], bool] | None) -> None:
    head = buffer(HEAD)
    target.read_into(head[: min(HEAD, target.size)], 0)
    guards.refuse_pv(target.facts, head.tobytes())
    if not force and (found := guards.content(target.fd)) is not None:
        guards.require_consent(target.name, found, confirm)


@contextmanager
def open_target_read_only(path: Name, *, size_needed: int) -> Iterator[Target]:
    """Opens a target for comparison; it may be in use, and is not written.

    Raises:
        KitError: it cannot be read, or is smaller than `size_needed` bytes.
    """
    path, status = paths.found(path, "target")
    facts = TargetFacts(path, paths.named(path), status)
    name = facts.name
    what, hint = f"target {name}", "name a device that root can read"
    fd = settled(lambda: open_disk(path, os.O_RDONLY, what, hint), what, hint, in_use=TargetInUse)
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        if size < size_needed:
            raise TargetTooSmall(path, name, size, size_needed)
        backing = Backing(path, size, fd, stat.S_ISBLK(os.fstat(fd).st_mode))
        with closing(Target(backing, size, facts, mode=os.O_RDONLY)) as target:
            yield target
    finally:
        os.close(fd)


@contextmanager
def _new_file(path: Path, size: int, allow_file: bool) -> Iterator[Target]:
    if not allow_file or path.resolve().is_relative_to("/dev"):
        raise TargetMissing(path)
    guards.require_size_allowed(str(path), size)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise KitError(
            f"target {path}: it cannot be created: {error.strerror}",
            hint="name a file in a directory that exists and can be written to",
        ) from error
    target = None
    try:
        with ExitStack() as stack:
            claim = claimed(path, name=f"target {path}", in_use=TargetInUse)
            backing = stack.enter_context(claim)
            facts = TargetFacts(path, str(path), os.fstat(backing.fd))
            target = Target(backing, size, facts, created=True)
            stack.enter_context(closing(target))
            yield target
    finally:
        if target is None or not target.begun:
            path.unlink(missing_ok=True)
