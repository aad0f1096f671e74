"""One run of a copy: its threads, its journal, its verification."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from typing import NamedTuple

from converter.engine.chunks import zeros_first
from converter.engine.content import TargetContent
from converter.engine.digests import Sums, new_hash
from converter.engine.journal import Journal, Record, contradiction
from converter.engine.pool import Pool, Worker
from converter.engine.sinks import Sink, Updater, Writer
from converter.engine.workers import (
    COMPARERS,
    WORKERS,
    WRITERS,
    CopyWorker,
    Counted,
    VerifyWorker,
)
from converter.engine.written import Written
from converter.errors import BaseIncomplete, ResumeMismatch, VerificationFailed
from converter.extents import Kind
from converter.identity import is_certain
from converter.options import CopyOptions
from converter.progress import Progress
from converter.results import Stopwatch, Zeroing
from converter.target.device import Target
from converter.target.zeroing import Zeroer
from node.errors import KitError
from node.log import log
from node.text import size

SYNC_SECONDS = 3.0  # between two checkpoints


def run_through(
    pool: Pool,
    workers: Sequence[Worker],
    progress: Progress,
    phase: str,
    total: int,
    counted: Counted,
    *,
    done: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Runs the workers on a pool's chunks, and reports progress; figures are bytes."""
    progress.begin(phase, total, done)
    try:

        def ticked() -> None:
            progress.update(done + counted.total())
            tick()

        pool.run(workers, ticked)
    finally:
        progress.end()


class Copied(NamedTuple):
    """The part of `CopyResult` that the copying itself determines."""

    digest: str | None
    zeroing: Zeroing | None
    resumed_at: int


class CopyRun:
    """One run of a copy, with its journal and its sums."""

    def __init__(
        self,
        options: CopyOptions,
        content: TargetContent,
        target: Target,
        progress: Progress,
        watch: Stopwatch,
    ) -> None:
        self._options = options
        self._content = content
        self._target = target
        self._progress = progress
        self._watch = watch
        self._noted: int | None = None  # according to the journal, all before this byte is done
        self._written = Written() if options.verify else None
        self._digest = new_hash(options.digest) if options.digest else None
        self._zeroer = Zeroer(target)
        self.journal = Journal(target.identity)
        self._goes_on = False  # whether this run resumes an earlier one
        self._record = self._begun()

    def _begun(self) -> Record:
        """The journal's record of this copy: an earlier one that is resumed, or a new one."""
        options = {
            "format": self._content.source.format,
            "swap": self._options.swap,
            "fix_gpt": "yes" if self._options.fix_gpt else "no",
        }
        if self._options.increment:
            options["increment"] = self._increment()
        path = str(self._target.path.absolute())
        new = Record(self._content.source.identity, self._target.identity, options, 0, path)
        if not self._options.resume:
            return new
        before = self.journal.read()
        if before is None:
            if other := self.journal.of_another(path):
                raise ResumeMismatch(
                    self._target.path,
                    "the interrupted copy wrote to another device or file of the same name",
                    journal=other,
                )
            log.info("no interrupted copy to %s found: copying all of it", self._target.path)
            return new
        if self._target.created:
            raise ResumeMismatch(
                self._target.path,
                "the interrupted copy wrote to a file that is gone",
                journal=self.journal.path,
            )
        if not is_certain(self._target.identity):
            raise ResumeMismatch(
                self._target.path,
                "the interrupted copy may have written to another device or file: this one has no"
                " birth time or serial number that identifies it",
                is_certain=False,
            )
        if why := contradiction(before, new):
            raise ResumeMismatch(self._target.path, why)
        if before.done:
            self._target.require_whole()
        log.info("going on at %s of %s", size(before.done), size(self._target.size))
        self._goes_on = True
        return before

    def _increment(self) -> str:
        """The record's word for an increment: what its base is.

        Raises:
            BaseIncomplete: what the target holds is not all of an earlier copy.
        """
        if self._options.compared:
            return "unknown"  # only the comparison knows what the target holds
        unfinished = self.journal.read()
        if unfinished is not None and unfinished.options.get("increment") != "complete":
            raise BaseIncomplete(self._target.path)
        return "complete"

    def copy(self) -> Copied:
        """Copies what is not on the target yet, and flushes it to the disk.

        Raises:
            KitError: it failed. If no byte was written, the journal is as it was before. If the
                target is lost, its journal is removed: nobody could use it.
        """
        try:
            with ExitStack() as stack:
                with self._watch.timed("copy"):
                    self._copy(stack)
                with self._watch.timed("flush"):
                    self._target.sync()
        except BaseException:
            undo = None
            if not self.touched:
                undo = self.journal.withdraw
            elif self._is_lost():
                undo = self.give_up
            if undo is not None:
                with suppress(KitError):  # a second error would hide why the copy failed
                    undo()
            raise
        return Copied(
            digest=self._digest.hexdigest() if self._digest else None,
            # An update compares zeros like other data, and writes those that differ.
            zeroing=None if self._options.update else self._zeroer.report(),
            resumed_at=self._record.done,
        )

    @property
    def touched(self) -> bool:
        """Whether a byte of the target was written, by this run or by the one it resumes."""
        return self._target.begun or self._goes_on

    @property
    def resumable_at(self) -> int | None:
        """The byte at which a resumed copy would go on; None: it cannot be resumed."""
        return self._noted if is_certain(self._target.identity) else None

    def give_up(self) -> None:
        """Makes the copy not resumable: the target is not reliable, or will be removed.

        Raises:
            KitError: the journal cannot be removed.
        """
        self._noted = None
        self.journal.remove()

    def _is_lost(self) -> bool:
        try:
            self._target.require_in_place()
        except KitError:
            return True
        return False

    def _copy(self, stack: ExitStack) -> None:
        resumed = self._record.done
        # Digests cover all content, so they need what an earlier run copied to be read again.
        start = 0 if self._written or self._digest else resumed
        # A digest needs the disk in order. An update reads ranges of zeros, too, instead of making
        # them zero, so it gains nothing by another order.
        in_order = self._digest is not None or self._options.update
        chunks = self._content.chunks(start)
        pool = Pool(chunks if in_order else zeros_first(chunks), start)
        most = COMPARERS if self._options.update else WORKERS
        count = min(most, self._content.source.readers)
        counted = Counted(count)
        workers, few = [], threading.Semaphore(WRITERS)
        for number in range(count):
            reader = stack.enter_context(closing(self._content.source.reader()))
            sink: Sink = Writer(self._target, self._zeroer, few)
            if self._options.update:
                sink = Updater(self._target)
            workers.append(
                CopyWorker(
                    self._content,
                    reader,
                    sink,
                    pool,
                    resumed=resumed,
                    digest=self._digest,
                    written=self._written,
                    counted=counted,
                    number=number,
                )
            )
        self.journal.begin(self._record)
        self._noted = resumed
        synced = time.monotonic()

        def tick() -> None:
            nonlocal synced
            if time.monotonic() - synced > SYNC_SECONDS and self._checkpoint(pool):
                synced = time.monotonic()

        try:
            total, done = self._content.data(), self._content.data_before(start)
            run_through(pool, workers, self._progress, "copy", total, counted, done=done, tick=tick)
        except BaseException:
            # A flush that fails now must not hide why the copy ended.
            with suppress(KitError):
                self._checkpoint(pool)
            raise

    def _checkpoint(self, pool: Pool) -> bool:
        """Flushes the target, and records in the journal that all before the low watermark is done.

        Returns whether the watermark has moved.
        """
        watermark = pool.low_watermark()
        if watermark <= (self._noted or 0):
            return False
        self._target.sync()
        self._target.require_whole()
        self.journal.advance(self._record, watermark)
        self._noted = watermark
        return True

    def verify(self) -> None:
        """Reads the target back from the disk, not from the page cache.

        It reads everything that was copied, except that zeros which the device made or always had
        are sampled: to read all of a large, nearly empty target would take many times as long as
        the copy.

        Raises:
            KitError: the target's content is not what was written.
        """
        assert self._written is not None
        missing = self._content.end - self._content.sizes[Kind.SAME] - self._written.total
        if missing > 0:
            raise VerificationFailed(self._target.path, f"({missing} bytes were not copied)")
        sums, counted = Sums(), Counted(WORKERS)
        pool = Pool(self._written.chunks(), 0)
        sampled = self._zeroer.trusted and not self._options.update and not self._record.done
        workers = [
            VerifyWorker(self._target, sums, sampled=sampled, counted=counted, number=number)
            for number in range(WORKERS)
        ]
        with self._watch.timed("verify"):
            self._target.forget_cached()
            total = self._written.total
            run_through(pool, workers, self._progress, "verify", total, counted)
        if (place := self._written.sums.first_difference(sums)) is not None:
            raise VerificationFailed(self._target.path, f"in the GiB from byte {place} on")
