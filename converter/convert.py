"""One source, one target: the order of the steps."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Any

from converter import replacements, sources, swap
from converter.buffers import buffer
from converter.contents.swap_header import MIN_LAST_PAGE
from converter.engine.content import TargetContent
from converter.engine.copy_run import CopyRun, run_through
from converter.engine.journal import Journal
from converter.engine.pool import Pool
from converter.engine.sinks import Comparer, Comparison
from converter.engine.workers import COMPARERS, CopyWorker, Counted
from converter.options import CopyOptions, CopyOutcome
from converter.progress import Progress
from converter.sources.base import Disk, Source
from converter.target import device
from converter.target.device import Target
from node.errors import KitError
from node.log import log


@contextmanager
def _planned(
    options: CopyOptions,
    open_target: Callable[[Source], AbstractContextManager[Target]],
    outcome: CopyOutcome,
) -> Iterator[tuple[TargetContent, Target, dict[str, Any]]]:
    """Source and target, opened and checked, what the target shall hold, and a report of that."""
    with ExitStack() as stack:
        with outcome.timed("check"):
            source = stack.enter_context(sources.open_source(options.source, options.image_format))
            disk = stack.enter_context(closing(Disk(source)))
            areas = replacements.swap_areas(disk.read, source.size, source.name, mode=options.swap)
            target = stack.enter_context(open_target(source))
            replaced = replacements.planned(
                areas, disk.read, source.size, target.size, fix_gpt=options.fix_gpt
            )
            content = TargetContent(source, replaced.extents, target.size)
        for note in replaced.notes:
            log.info("%s", note)
        yield (
            content,
            target,
            {
                "source": source.name,
                "format": source.format,
                "target": str(target.path),
                "size": source.size,
                "target_size": target.size,
                "extents": {kind.name.lower(): count for kind, count in content.sizes.items()},
                "notes": list(replaced.notes),
            },
        )


def copy(options: CopyOptions, progress: Progress, outcome: CopyOutcome) -> dict[str, Any]:
    """Copies; everything that can be checked is checked before the first byte is written.

    Returns:
        What came of it: the fields of the result that qcow2raw(8) documents.

    Raises:
        KitError: why not; `outcome` tells whether the target was touched.
    """

    def open_target(source: Source) -> AbstractContextManager[Target]:
        return device.open_target(
            options.target,
            size_needed=source.size,
            source=source.status,
            force=options.force or options.update,
            allow_file=options.force_file,
            is_ours=lambda identity: options.resume and Journal(identity).read() is not None,
            confirm=options.confirm,
        )

    with _planned(options, open_target, outcome) as (content, target, report):
        if options.dry_run:
            return report
        run = CopyRun(options, content, target, progress, outcome)
        try:
            report |= run.copy()
        except Exception:
            if options.made:  # the volume goes, whatever it was
                run.journal.remove()
            raise
        try:
            content.source.check_unchanged()
            if options.verify:
                run.verify()
            target.require_in_place()
        except KitError:
            outcome.resumable = None  # what is there cannot be relied on, so nothing can go on
            run.journal.remove()
            raise
        run.journal.remove()
        outcome.complete = True
        return report | {"verified": options.verify, "seconds": outcome.seconds}


def check(options: CopyOptions, progress: Progress, outcome: CopyOutcome) -> dict[str, Any]:
    """Compares a target with what a copy would have made of it; writes nothing.

    Returns:
        The fields of the result that qcow2raw(8) documents; `first_difference` is None where
        there is none.

    Raises:
        KitError: one of them cannot be read.
    """

    def open_target(source: Source) -> AbstractContextManager[Target]:
        return device.open_target_read_only(options.target, size_needed=source.size)

    found = Comparison()
    with _planned(options, open_target, outcome) as (content, target, report), ExitStack() as stack:
        count = min(COMPARERS, content.source.readers)
        pool, counted = Pool(content.chunks(), 0), Counted(count)
        with outcome.timed("compare"):
            workers = [
                CopyWorker(
                    content,
                    stack.enter_context(closing(content.source.reader())),
                    Comparer(target, found),
                    pool,
                    counted=counted,
                    number=number,
                )
                for number in range(count)
            ]
            run_through(pool, workers, progress, "compare", content.data(), counted)
        content.source.check_unchanged()
        target.require_in_place()
        return report | {
            "first_difference": found.first,
            "different_bytes": found.bytes,
            "seconds": outcome.seconds,
        }


def make_swap(options: CopyOptions, outcome: CopyOutcome) -> dict[str, Any]:
    """Makes the target a swap area with the UUID and label of the source's only one."""
    with ExitStack() as stack:
        source = stack.enter_context(sources.open_source(options.source, options.image_format))
        disk = stack.enter_context(closing(Disk(source)))
        areas = replacements.swap_areas(disk.read, source.size, source.name, mode="recreate")
        if len(areas) != 1:
            raise KitError(
                f"source {source.name}: it has {len(areas) or 'no'} swap areas, not one",
                hint="--info shows what is on it",
            )
        (area,) = areas
        target = stack.enter_context(
            device.open_target(
                options.target,
                size_needed=(MIN_LAST_PAGE + 1) * area.page_size,
                source=source.status,
                force=options.force,
                allow_file=options.force_file,
                confirm=options.confirm,
            )
        )
        page = swap.new_header(area, target.size)
        aligned = buffer(len(page))
        aligned[:] = page
        journal = Journal(target.identity)
        journal.remove()  # a copy that was interrupted cannot go on any more
        try:
            target.write(aligned, 0)
            target.sync()
        except BaseException:
            if not target.begun:
                journal.withdraw()
            raise
        finally:
            outcome.touched = target.begun
        target.require_in_place()
        outcome.complete = True
        return {"target": str(target.path), "target_size": target.size, "uuid": str(area.uuid)}
