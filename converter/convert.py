"""One source, one target: the order of the steps."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from converter import opening, overlays, swap, target
from converter.copy import WORKERS, Content, CopyWorker, Counted, VerifyWorker, differs
from converter.digests import Sums, new_hash
from converter.disk import Disk
from converter.journal import Journal, Record, contradiction
from converter.memory import buffer
from converter.pool import Pool, Worker
from converter.progress import Progress, size
from converter.sinks import Comparer, Comparison, Sink, Updater, Writer
from converter.source import Source
from converter.target import Target
from converter.zeros import Zeroer
from node.errors import KitError
from node.log import log

SYNC_SECONDS = 3.0  # between two flushes of the target, each of which the journal then vouches for


@dataclass(frozen=True)
class Job:
    """What one run shall do: the program's options, which qcow2raw(8) explains."""

    source: str
    target: str
    image_format: str | None = None
    force: bool = False
    force_file: bool = False
    swap: str = "recreate"
    fix_gpt: bool = True
    verify: bool = False
    digest: str | None = None
    update: bool = False
    resume: bool = False
    dry_run: bool = False
    made: bool = False  # the target is a volume that was made for this copy, and goes if it fails
    reads_as_zeros: bool = False  # the target is a thin volume that was made for this copy
    confirm: Callable[[str], bool] | None = None


@dataclass
class State:
    """How far a run came: the exit code and the last words depend on it."""

    touched: bool = False  # a byte of the target may have been written
    complete: bool = False  # all is there, and on the disk
    resumable: int | None = None  # --resume would go on at this byte of the target
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Keeps how long a phase took."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = round(time.monotonic() - started, 3)


@contextmanager
def _planned(
    job: Job, open_target: Callable[[Source], AbstractContextManager[Target]], state: State
) -> Iterator[tuple[Content, Target, dict[str, Any]]]:
    """Source and target, opened and checked, what the target shall hold, and a report of that."""
    with ExitStack() as stack:
        with state.timed("check"):
            source = stack.enter_context(opening.opened(job.source, job.image_format))
            disk = stack.enter_context(closing(Disk(source)))
            areas = overlays.swap_areas(disk.read, source.size, source.name, mode=job.swap)
            there = stack.enter_context(open_target(source))
            over = overlays.planned(areas, disk.read, source.size, there.size, fix_gpt=job.fix_gpt)
            content = Content(source, over.extents, there.size)
        for note in over.notes:
            log.info("%s", note)
        yield (
            content,
            there,
            {
                "source": source.name,
                "format": source.format,
                "target": str(there.path),
                "size": source.size,
                "target_size": there.size,
                "extents": {kind.name.lower(): count for kind, count in content.sizes.items()},
                "notes": list(over.notes),
            },
        )


def copy(job: Job, progress: Progress, state: State) -> dict[str, Any]:
    """Copies; everything that can be checked is checked before the first byte is written.

    Returns:
        What came of it: the fields of the result that qcow2raw(8) documents.

    Raises:
        KitError: why not; `state` tells whether the target was touched.
    """

    def open_target(source: Source) -> AbstractContextManager[Target]:
        return target.opened(
            job.target,
            size_needed=source.size,
            source=source.status,
            force=job.force or job.update,
            allow_file=job.force_file,
            is_ours=lambda identity: job.resume and Journal(identity).read() is not None,
            confirm=job.confirm,
        )

    with _planned(job, open_target, state) as (content, there, report):
        if job.dry_run:
            return report
        run = _Run(job, content, there, progress, state)
        try:
            report |= run.copy()
        except KitError:
            if job.made:
                run.journal.remove()
            raise
        try:
            content.source.check_unchanged()
            if job.verify:
                run.verify()
        except KitError:
            state.resumable = None  # what is there cannot be relied on, so nothing can go on
            run.journal.remove()
            raise
        run.journal.remove()
        state.complete = True
        return report | {"verified": job.verify, "seconds": state.seconds}


def check(job: Job, progress: Progress, state: State) -> dict[str, Any]:
    """Compares a target with what a copy would have made of it; writes nothing.

    Returns:
        The fields of the result that qcow2raw(8) documents; `first_difference` is None where
        there is none.

    Raises:
        KitError: one of them cannot be read.
    """

    def open_target(source: Source) -> AbstractContextManager[Target]:
        return target.read_only(job.target, size_needed=source.size)

    found = Comparison()
    with _planned(job, open_target, state) as (content, there, report), ExitStack() as stack:
        pool, counted = Pool(content.items(), 0), Counted(WORKERS)
        with state.timed("compare"):
            workers = [
                CopyWorker(
                    content,
                    stack.enter_context(closing(content.source.reader())),
                    Comparer(there, found),
                    pool,
                    counted=counted,
                    number=number,
                )
                for number in range(WORKERS)
            ]
            _run(pool, workers, progress, "compare", content.data(), counted)
        content.source.check_unchanged()
        return report | {
            "first_difference": found.first,
            "different_bytes": found.bytes,
            "seconds": state.seconds,
        }


def make_swap(job: Job, state: State) -> dict[str, Any]:
    """Makes the target a swap area with the UUID and label of the source's only one."""
    with ExitStack() as stack:
        source = stack.enter_context(opening.opened(job.source, job.image_format))
        disk = stack.enter_context(closing(Disk(source)))
        areas = overlays.swap_areas(disk.read, source.size, source.name, mode="recreate")
        if len(areas) != 1:
            raise KitError(
                f"source {source.name}: it has {len(areas) or 'no'} swap areas, not one",
                hint="--info shows what is on it",
            )
        (area,) = areas
        there = stack.enter_context(
            target.opened(
                job.target,
                size_needed=(swap.MIN_LAST_PAGE + 1) * area.page_size,
                source=source.status,
                force=job.force,
                allow_file=job.force_file,
                confirm=job.confirm,
            )
        )
        page = swap.new_header(area, there.size)
        aligned = buffer(len(page))
        aligned[:] = page
        Journal(there.identity).remove()  # a copy that was interrupted cannot go on any more
        state.touched = True
        there.write(aligned, 0)
        there.sync()
        state.complete = True
        return {"target": str(there.path), "target_size": there.size, "uuid": str(area.uuid)}


def _run(
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
    progress.begin(phase, total, done)
    try:

        def ticked() -> None:
            progress.update(done + counted.total())
            tick()

        pool.run(workers, ticked)
    finally:
        progress.end()


class _Run:
    """One copy from the first byte on: its journal, its sums."""

    def __init__(
        self,
        job: Job,
        content: Content,
        there: Target,
        progress: Progress,
        state: State,
    ) -> None:
        self._job = job
        self._content = content
        self._target = there
        self._progress = progress
        self._state = state
        self._sums = Sums() if job.verify else None
        self._digest = new_hash(job.digest) if job.digest else None
        self._zeroer = Zeroer(there, known_zero=job.reads_as_zeros)
        self.journal = Journal(there.identity)
        self._record = self._begun()

    def _begun(self) -> Record:
        """The journal's record of this copy: an earlier one to go on from, or a new one."""
        options = {
            "format": self._content.source.format,
            "swap": self._job.swap,
            "fix_gpt": "yes" if self._job.fix_gpt else "no",
        }
        new = Record(self._content.source.identity, self._target.identity, options, 0)
        if not self._job.resume:
            return new
        before = self.journal.read()
        if before is None:
            log.info("no earlier copy to %s was interrupted: from the beginning", self._target.path)
            return new
        if why := contradiction(before, new):
            raise KitError(
                f"--resume of the copy to {self._target.path}: {why}",
                hint="copy from the beginning: with --force instead of --resume",
            )
        log.info("going on at %s of %s", size(before.done), size(self._target.size))
        return before

    def copy(self) -> dict[str, Any]:
        """Copies what is not there yet, and flushes it to the disk."""
        resumed = self._record.done
        # Digests are of all the content: what was copied before is read again for them.
        start = 0 if self._sums or self._digest else resumed
        state, pool, counted = (
            self._state,
            Pool(self._content.items(start), start),
            Counted(WORKERS),
        )
        self.journal.begin(self._record)
        state.touched, state.resumable = True, resumed
        with ExitStack() as stack, state.timed("copy"):
            workers = []
            for number in range(WORKERS):
                sink: Sink = Writer(self._target, self._zeroer)
                if self._job.update:
                    sink = Updater(self._target)
                reader = stack.enter_context(closing(self._content.source.reader()))
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
            synced = time.monotonic()

            def tick() -> None:
                nonlocal synced
                if time.monotonic() - synced > SYNC_SECONDS:
                    self._vouch(pool)
                    synced = time.monotonic()

            try:
                total, done = self._content.data(), self._content.data_before(start)
                _run(pool, workers, self._progress, "copy", total, counted, done=done, tick=tick)
            except BaseException:
                # A flush that fails now must not hide why the copy ended.
                with suppress(KitError):
                    self._vouch(pool)
                raise
        with state.timed("flush"):
            self._target.sync()
        return {
            "digest": self._digest.hexdigest() if self._digest else None,
            "zeroing": self._zeroer.report(),
            "resumed_at": resumed,
        }

    def _vouch(self, pool: Pool) -> None:
        """Flushes the target, and notes in the journal that all up to the pool's mark is there."""
        mark = pool.mark()
        if mark > (self._state.resumable or 0):
            self._target.sync()
            self.journal.advance(self._record, mark)
            self._state.resumable = mark

    def verify(self) -> None:
        """Reads the target back past the page cache.

        All of it, but for zeros that the device made or always had: these are sampled. To read
        all of a large and nearly empty target would take many times as long as the copy.

        Raises:
            KitError: it is not what was written.
        """
        assert self._sums is not None
        sums, counted = Sums(), Counted(WORKERS)
        pool = Pool(self._content.items(), 0)
        sampled = self._zeroer.trusted and not self._job.update and not self._record.done
        workers = [
            VerifyWorker(self._target, sums, sampled=sampled, counted=counted, number=number)
            for number in range(WORKERS)
        ]
        with self._state.timed("verify"):
            self._target.forget_cached()
            _run(pool, workers, self._progress, "verify", self._content.end, counted)
        if (place := self._sums.first_difference(sums)) is not None:
            raise differs(self._target, f"in the GiB from byte {place} on")
