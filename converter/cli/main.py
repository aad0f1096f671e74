"""The command line of qcow2raw."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

from converter import convert
from converter.cli.hints import DEBUGGING, REFUSED, explained
from converter.cli.options import copy_options, misused, parser, target_name
from converter.cli.progress import chosen
from converter.cli.results import (
    comparison_fields,
    copy_fields,
    copy_line,
    plan_fields,
    plan_line,
    swap_fields,
)
from converter.errors import CopyFailed, CopyStopped, TargetState, telling_what_is_left
from converter.progress import Json, Progress, Silent
from converter.results import Comparison, CopyResult, Stopwatch
from converter.sources import open_source
from converter.sources.base import Source
from node import log
from node.devices import lvm
from node.errors import KitError
from node.program import Failure, complain, run_command, say
from node.text import printable

DONE, DIFFERENT = 0, 1  # exit codes; `options` and `hints` have the others


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns its exit code."""
    made = parser()
    options = made.parse_args(argv)
    if complaint := misused(options):
        made.error(complaint)
    log.to_stream(debug=options.debug, quiet=options.quiet, stderr=True)
    progress: Progress = Silent()

    def act() -> int:
        nonlocal progress
        progress = chosen(options.progress, quiet=options.quiet)
        return _act(options, progress)

    def explain(error: BaseException, failure: Failure) -> Failure:
        failure = explained(error, failure, options)
        with suppress(KitError):  # the failure may be that this cannot be written
            fields = {"error": failure.message, "hint": failure.hint, "exit_code": failure.code}
            _tell(progress, "error", fields)
        return failure

    return run_command(act, failed=REFUSED, debugging=DEBUGGING, explain=explain)


def _act(options: argparse.Namespace, progress: Progress) -> int:
    if options.info or options.inspect:
        from converter.cli import images  # it loads much that a copy does not need

        say(
            images.report(
                options.sources, options.format, deep=options.inspect, as_json=options.json
            )
        )
        return DONE
    if options.check:
        return _compare(options, progress)
    if options.dry_run:
        with open_source(options.sources[0], options.format) as source:
            plan = convert.plan(source, options.sources[1], copy_options(options, None))
        log.log.info("%s", plan_line(plan))
        _tell(progress, "result", plan_fields(plan))
        return DONE
    return _copy(options, progress)


def _copy(options: argparse.Namespace, progress: Progress) -> int:
    complete = False
    watch = Stopwatch()

    def left() -> TargetState | None:
        return TargetState(complete=True) if complete else None

    # An error after this must say that the copy is complete.
    with telling_what_is_left(left):
        with ExitStack() as stack:
            with watch.timed("check"):
                source = stack.enter_context(open_source(options.sources[0], options.format))
            volume = stack.enter_context(_new_volume(options, source)) if options.create else None
            # Inside of the volume's context, so that an error keeps a volume that is complete.
            stack.enter_context(telling_what_is_left(left))
            target = volume.path if volume else options.sources[1]
            wanted = copy_options(options, volume)
            swap = result = None
            if options.swap_only:
                swap = convert.make_swap(source, target, wanted)
            else:
                result = convert.copy(source, target, wanted, progress)
            complete = True
        if swap is not None:
            _tell(progress, "result", swap_fields(swap))
        if result is not None:
            log.log.info("%s", copy_line(result))
            fields = copy_fields(result) | {"seconds": _with_opening(result, watch)}
            _tell(progress, "result", fields)
            if result.digest and options.progress not in ("json", "json:1"):
                say(printable(f"{result.digest}  {options.digest}:{options.sources[0]}"))
    return DONE


def _compare(options: argparse.Namespace, progress: Progress) -> int:
    name, target = options.sources
    watch = Stopwatch()
    with ExitStack() as stack:
        with watch.timed("check"):
            source = stack.enter_context(open_source(name, options.format))
        found = convert.compare(source, target, copy_options(options, None), progress)
    fields = comparison_fields(found) | {"seconds": _with_opening(found, watch)}
    _tell(progress, "result", fields)
    if found.first_difference is None:
        log.log.info("%s holds what a copy of %s would make of it", target, name)
        return DONE
    complain(
        f"comparison of {target} with {name}: different from byte {found.first_difference} on:"
        f" {found.different_bytes} bytes are in pages that differ",
        "--update rewrites only what differs",
    )
    return DIFFERENT


def _with_opening(result: CopyResult | Comparison, watch: Stopwatch) -> dict[str, float]:
    """The seconds of each phase; "check" includes the checks at the source's opening."""
    checks = result.seconds["check"] + watch.seconds["check"]
    return {**result.seconds, "check": round(checks, 3)}


def _new_volume(
    options: argparse.Namespace, source: Source
) -> AbstractContextManager[lvm.LogicalVolume]:
    vg, _, name = target_name(options).removeprefix("/dev/").rpartition("/")
    wanted = options.size
    if wanted is None:
        wanted = source.size
    elif wanted < source.size:
        raise KitError(
            f"--size {options.size}: the disk of {source.name} has {source.size} bytes",
            hint="without --size, the volume gets the disk's size",
        )
    return lvm.created(vg, name, wanted, options.thin_pool, keep=_is_worth_keeping)


def _is_worth_keeping(failure: BaseException) -> bool:
    """Whether a new volume is complete, or another run can go on with it."""
    if isinstance(failure, CopyFailed):
        return failure.left.complete
    return isinstance(failure, CopyStopped)


def _tell(progress: Progress, kind: str, fields: Mapping[str, Any]) -> None:
    """Reports the outcome to a program, if one reads the progress."""
    if isinstance(progress, Json):
        progress.write({"type": kind, **fields})
