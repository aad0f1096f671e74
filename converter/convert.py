"""The order of the steps of a copy, a comparison, a dry run, and a new swap area."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from uuid import UUID

from converter import replacements, swap
from converter.buffers import buffer
from converter.contents.swap_header import MIN_LAST_PAGE, SwapArea, new_area
from converter.engine.content import TargetContent
from converter.engine.copy_run import CopyRun, run_through
from converter.engine.journal import Journal
from converter.engine.pool import Pool
from converter.engine.sinks import Comparer, Differences
from converter.engine.workers import COMPARERS, CopyWorker, Counted
from converter.errors import NotOneSwapArea, TargetMissing, TargetState, telling_what_is_left
from converter.extents import Kind
from converter.options import CopyOptions
from converter.paths import Name
from converter.progress import Progress, Silent
from converter.results import Comparison, CopyPlan, CopyResult, Stopwatch, SwapResult
from converter.sources.base import Disk, Source
from converter.target import device
from converter.target.device import Target
from node.errors import KitError
from node.log import log

DEFAULTS = CopyOptions()
SILENT = Silent()


@dataclass
class _Prepared:
    """Source and target, opened and checked, and the content planned for the target."""

    content: TargetContent
    target: Target
    plan: CopyPlan
    watch: Stopwatch


@contextmanager
def _prepared(
    source: Source, open_target: Callable[[], AbstractContextManager[Target]], options: CopyOptions
) -> Iterator[_Prepared]:
    watch = Stopwatch()
    with ExitStack() as stack:
        with watch.timed("check"):
            disk = stack.enter_context(closing(Disk(source)))
            areas = replacements.swap_areas(disk.read, source.size, source.name, mode=options.swap)
            target = stack.enter_context(open_target())
            replaced = replacements.plan_replacements(
                areas,
                disk.read,
                source.size,
                target.size,
                fix_gpt=options.fix_gpt,
                kept_until=source.size if options.increment else 0,
            )
            content = TargetContent(source, replaced.extents, target.size)
            if options.increment and target.created:
                raise TargetMissing(target.path)
            if content.sizes[Kind.SAME] and not options.increment:
                raise ValueError("a source of changes is for increments only")
            plan = CopyPlan(
                source=source.name,
                format=source.format,
                target=target.path,
                size=source.size,
                target_size=target.size,
                extents=content.sizes,
                notes=replaced.notes,
            )
        for note in plan.notes:
            log.info("%s", note)
        yield _Prepared(content, target, plan, watch)


def _open_target(
    source: Source, target: Name, options: CopyOptions
) -> AbstractContextManager[Target]:
    return device.open_target(
        target,
        size_needed=source.size,
        source=source.status,
        force=options.force or options.update or options.increment,
        allow_file=options.allow_file,
        readers_allowed=options.readers_allowed,
        is_ours=lambda identity: options.resume and Journal(identity).read() is not None,
        confirm=options.confirm,
        new_volume=options.new_volume,
    )


def plan(source: Source, target: Name, options: CopyOptions = DEFAULTS) -> CopyPlan:
    """Checks everything that a copy checks, and returns what it would do; nothing is written.

    Args:
        source: as `open_source` opened it.
        target: the block device or file.
        options: how it would be copied.

    Raises:
        KitError: it could not be copied; `converter.errors` lists the possible errors.
    """
    with _prepared(source, lambda: _open_target(source, target, options), options) as prepared:
        return prepared.plan


def copy(
    source: Source, target: Name, options: CopyOptions = DEFAULTS, progress: Progress = SILENT
) -> CopyResult:
    """Copies a source to a target. All checks come before the first byte is written.

    Args:
        source: as `open_source` opened it.
        target: the block device or file; it is opened exclusively.
        options: how it is copied.
        progress: is called in the phases copy and verify. If it raises, the copy ends.

    Raises:
        CopyFailed: it failed after the target was touched; `left` is the target's state.
        CopyStopped: a signal ended it after the target was touched (`signals_raise`).
        KitError: it cannot be copied; `converter.errors` lists the possible errors. No byte of the
            target was written.
    """
    run: CopyRun | None = None
    complete = False

    def left() -> TargetState | None:
        if run is None or not run.touched:
            return None
        return TargetState(complete, None if complete else run.resumable_at)

    with (
        telling_what_is_left(left),
        _prepared(source, lambda: _open_target(source, target, options), options) as prepared,
    ):
        run = CopyRun(options, prepared.content, prepared.target, progress, prepared.watch)
        result = _copied(run, prepared, options)
        complete = True
        return result


def _copied(run: CopyRun, prepared: _Prepared, options: CopyOptions) -> CopyResult:
    try:
        copied = run.copy()
    except Exception:
        if options.new_volume is not None:  # the caller removes it, so nothing can be resumed
            run.give_up()
        raise
    try:
        prepared.content.source.check_unchanged()
        if options.verify:
            run.verify()
        prepared.target.require_in_place()
    except KitError:
        run.give_up()  # the target's content is not reliable, so it must not be resumed
        raise
    run.journal.remove()
    return CopyResult(
        plan=prepared.plan,
        zeroing=copied.zeroing,
        digest=copied.digest,
        verified=options.verify,
        resumed_at=copied.resumed_at,
        seconds=prepared.watch.seconds,
    )


def compare(
    source: Source, target: Name, options: CopyOptions = DEFAULTS, progress: Progress = SILENT
) -> Comparison:
    """Compares a target with what a copy would make of it; writes nothing.

    Args:
        source: as `open_source` opened it.
        target: the block device or file; it may be in use.
        options: how it would be copied.
        progress: is called in the phase compare. If it raises, the comparison ends.

    Raises:
        KitError: one of them cannot be read, or the target is too small.
    """
    found = Differences()

    def open_target() -> AbstractContextManager[Target]:
        return device.open_target_read_only(target, size_needed=source.size)

    with _prepared(source, open_target, options) as prepared, ExitStack() as stack:
        content = prepared.content
        count = min(COMPARERS, source.readers)
        pool, counted = Pool(content.chunks(), 0), Counted(count)
        with prepared.watch.timed("compare"):
            workers = [
                CopyWorker(
                    content,
                    stack.enter_context(closing(source.reader())),
                    Comparer(prepared.target, found),
                    pool,
                    counted=counted,
                    number=number,
                )
                for number in range(count)
            ]
            run_through(pool, workers, progress, "compare", content.data(), counted)
        source.check_unchanged()
        prepared.target.require_in_place()
        return Comparison(prepared.plan, found.first, found.bytes, prepared.watch.seconds)


def make_swap(source: Source, target: Name, options: CopyOptions = DEFAULTS) -> SwapResult:
    """Makes the target a swap area with the UUID and label of the source's only swap area.

    Args:
        source: as `open_source` opened it.
        target: the block device or file.
        options: those of the target (`force`, `allow_file`, `confirm`, `new_volume`).

    Raises:
        CopyFailed: it failed after the target was touched.
        KitError: it cannot be done; no byte of the target was written.
    """
    with closing(Disk(source)) as disk:
        areas = replacements.swap_areas(disk.read, source.size, source.name, mode="recreate")
    if len(areas) != 1:
        raise NotOneSwapArea(source.name, len(areas))
    return _new_swap(areas[0], target, options, source.status)


def new_swap(uuid: UUID, label: str, target: Name, options: CopyOptions = DEFAULTS) -> SwapResult:
    """Makes all of the target a swap area.

    Args:
        uuid: of the area; nil for none.
        label: of the area, up to 16 bytes; "" for none.
        target: the block device or file.
        options: those of the target, as for `make_swap`, and `readers_allowed`.

    Raises:
        CopyFailed: it failed after the target was touched.
        KitError: it cannot be done; no byte of the target was written.
        ValueError: the label is too long.
    """
    return _new_swap(new_area(uuid, label), target, options, None)


def _new_swap(
    area: SwapArea, target: Name, options: CopyOptions, source: os.stat_result | None
) -> SwapResult:
    complete = False
    there: Target | None = None

    def left() -> TargetState | None:
        return TargetState(complete) if there is not None and there.begun else None

    with telling_what_is_left(left), ExitStack() as stack:
        there = stack.enter_context(
            device.open_target(
                target,
                size_needed=(MIN_LAST_PAGE + 1) * area.page_size,
                source=source,
                force=options.force,
                allow_file=options.allow_file,
                confirm=options.confirm,
                new_volume=options.new_volume,
                readers_allowed=options.readers_allowed,
            )
        )
        page = swap.new_header(area, there.size)
        aligned = buffer(len(page))
        aligned[:] = page
        journal = Journal(there.identity)
        journal.remove()  # an interrupted copy to this target cannot be resumed after this
        try:
            there.write(aligned, 0)
            there.sync()
        except BaseException:
            if not there.begun:
                journal.withdraw()
            raise
        there.require_in_place()
        complete = True
        return SwapResult(there.path, there.size, area.uuid)
