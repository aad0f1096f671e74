"""One copy from its first byte on: threads, journal, verification."""

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
from converter.errors import ResumeMismatch, VerificationFailed
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
    """Lets workers work off a pool, and tells how far they are."""
    progress.begin(phase, total, done)
    try:

        def ticked() -> None:
            progress.update(done + counted.total())
            tick()

        pool.run(workers, ticked)
    finally:
        progress.end()


class Copied(NamedTuple):
    """What came of the copying, as `CopyResult` has it."""

    digest: str | None
    zeroing: Zeroing | None
    resumed_at: int


class CopyRun:
    """One copy from the first byte on: its journal, its sums.

    Attributes:
        resumable_at: a copy that resumes would go on at this byte of the target; None: at none.
    """

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
        self.resumable_at: int | None = None
        self._sums = Sums() if options.verify else None
        self._digest = new_hash(options.digest) if options.digest else None
        self._zeroer = Zeroer(target)
        self.journal = Journal(target.identity)
        self._goes_on = False  # from where an earlier run ended
        self._record = self._begun()

    def _begun(self) -> Record:
        """The journal's record of this copy: an earlier one to go on from, or a new one."""
        options = {
            "format": self._content.source.format,
            "swap": self._options.swap,
            "fix_gpt": "yes" if self._options.fix_gpt else "no",
        }
        path = str(self._target.path.absolute())
        new = Record(self._content.source.identity, self._target.identity, options, 0, path)
        if not self._options.resume:
            return new
        before = self.journal.read()
        if before is None:
            if other := self.journal.of_another(path):
                raise ResumeMismatch(
                    self._target.path,
                    "the copy that was interrupted was to another device or file of this name",
                    journal=other,
                )
            log.info("no earlier copy to %s was interrupted: from the beginning", self._target.path)
            return new
        if self._target.created or not is_certain(self._target.identity):
            raise ResumeMismatch(
                self._target.path,
                "whether it is what the interrupted copy was to cannot be told: it has nothing"
                " that no other has",
                journal=self.journal.path,
            )
        if why := contradiction(before, new):
            raise ResumeMismatch(self._target.path, why)
        if before.done:
            self._target.require_whole()
        log.info("going on at %s of %s", size(before.done), size(self._target.size))
        self._goes_on = True
        return before

    def copy(self) -> Copied:
        """Copies what is not there yet, and flushes it to the disk.

        Raises:
            KitError: it could not. Where not a byte was written, the journal is as it was before;
                where the target is lost, there is none: it would outlive what it is for.
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
                with suppress(KitError):  # it would hide why the copy failed
                    undo()
            raise
        return Copied(
            digest=self._digest.hexdigest() if self._digest else None,
            # An update compares zeros like all else, and writes those that differ.
            zeroing=None if self._options.update else self._zeroer.report(),
            resumed_at=self._record.done,
        )

    @property
    def touched(self) -> bool:
        """Whether a byte of the target was written, by this run or by the one that it goes on."""
        return self._target.begun or self._goes_on

    def give_up(self) -> None:
        """Sees to it that no copy goes on from here: the target cannot be relied on, or goes.

        Raises:
            KitError: the journal cannot be removed.
        """
        self.resumable_at = None
        self.journal.remove()

    def _is_lost(self) -> bool:
        try:
            self._target.require_in_place()
        except KitError:
            return True
        return False

    def _copy(self, stack: ExitStack) -> None:
        resumed = self._record.done
        # Digests are of all the content: what was copied before is read again for them.
        start = 0 if self._sums or self._digest else resumed
        # Digests are of the disk in order; an update reads all that it passes.
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
                    sums=self._sums,
                    counted=counted,
                    number=number,
                )
            )
        self.journal.begin(self._record)
        self.resumable_at = resumed
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
        """Flushes the target, and notes in the journal that all up to the low watermark is there.

        Returns whether there was anything new to note.
        """
        watermark = pool.low_watermark()
        if watermark <= (self.resumable_at or 0):
            return False
        self._target.sync()
        self._target.require_whole()
        self.journal.advance(self._record, watermark)
        self.resumable_at = watermark
        return True

    def verify(self) -> None:
        """Reads the target back past the page cache.

        All of it, but for zeros that the device made or always had: these are sampled. To read
        all of a large and nearly empty target would take many times as long as the copy.

        Raises:
            KitError: it is not what was written.
        """
        assert self._sums is not None
        sums, counted = Sums(), Counted(WORKERS)
        pool = Pool(self._content.chunks(), 0)
        sampled = self._zeroer.trusted and not self._options.update and not self._record.done
        workers = [
            VerifyWorker(self._target, sums, sampled=sampled, counted=counted, number=number)
            for number in range(WORKERS)
        ]
        with self._watch.timed("verify"):
            self._target.forget_cached()
            run_through(pool, workers, self._progress, "verify", self._content.end, counted)
        if (place := self._sums.first_difference(sums)) is not None:
            raise VerificationFailed(self._target.path, f"in the GiB from byte {place} on")
