"""The command line of qcow2raw."""

import argparse
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, NoReturn

from converter import convert, sources
from converter.engine.digests import ALGORITHMS
from converter.options import CopyOptions, CopyOutcome
from converter.progress import Progress, Silent, chosen, duration
from node import log
from node.devices import lvm
from node.errors import KitError
from node.program import Failure, complain, run_command, say
from node.text import parse_size, printable, size

DONE, DIFFERENT, USAGE, REFUSED, FAILED = range(5)
RESUME = ("qcow2raw", "--resume")
PROGRESS = "auto, bar, lines, none, json or json:FD"


class _Parser(argparse.ArgumentParser):
    """Errors of usage in the form of all others."""

    def error(self, message: str) -> NoReturn:
        complain(message, "qcow2raw --help, or man qcow2raw")
        sys.exit(USAGE)


def parser() -> argparse.ArgumentParser:
    """The options; qcow2raw(8) explains them at length."""
    made = _Parser(
        prog="qcow2raw",
        usage="qcow2raw [options] SRC DST\n"
        "       qcow2raw --create VG/LV [--size SIZE] [--thin-pool POOL] [options] SRC\n"
        "       qcow2raw --check SRC DST | --swap-only SRC DST\n"
        "       qcow2raw --info SRC... | --inspect SRC...",
        description="Copies a disk image to a block device, checked and complete.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("sources", nargs="+", metavar="SRC", help="path, ssh://[user@]host/path, nbd://…")
    what = made.add_mutually_exclusive_group()
    what.add_argument("--create", metavar="VG/LV", help="make the volume that is the target")
    what.add_argument("--check", action="store_true", help="compare, write nothing")
    what.add_argument("--swap-only", action="store_true", help="only make DST the swap that SRC is")
    what.add_argument("--info", action="store_true", help="say what is in SRC")
    what.add_argument("--inspect", action="store_true", help="--info, and what its files say")
    what.add_argument("--dry-run", action="store_true", help="check all, write nothing")
    add("--size", type=_size, metavar="SIZE", help="of the new volume; K, M, G, T")
    add("--thin-pool", metavar="POOL", help="make the new volume in this thin pool")
    add("--format", metavar="FORMAT", help="of SRC: qcow2 (default for files), raw, vmdk, …")
    add("--force", action="store_true", help="overwrite what is on DST")
    add("--force-file", action="store_true", help="DST may be a file")
    add("--swap", choices=("recreate", "copy"), default="recreate", help="default: recreate")
    add("--fix-gpt", action=argparse.BooleanOptionalAction, default=True, help="default: yes")
    add("--verify", action="store_true", help="read DST back, and compare")
    add("--digest", choices=ALGORITHMS, help="print a digest of the disk's content")
    add("--update", action="store_true", help="write only blocks of DST that differ")
    add("--resume", action="store_true", help="go on with an interrupted copy")
    add("--progress", default="auto", type=_progress, metavar="HOW", help=PROGRESS)
    add("--json", action="store_true", help="with --info and --inspect: for programs")
    add("-q", "--quiet", action="store_true", help="say nothing but errors")
    add("--debug", action="store_true", help="programs that are run, tracebacks")
    return made


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns its exit code."""
    made = parser()
    options = made.parse_args(argv)
    if complaint := _misused(options):
        made.error(complaint)
    log.to_stream(debug=options.debug, quiet=options.quiet, stderr=True)
    outcome = CopyOutcome()
    progress: Progress = Silent()

    def act() -> int:
        nonlocal progress
        progress = chosen(options.progress, quiet=options.quiet)
        return _act(options, progress, outcome)

    def explained(failure: Failure) -> Failure:
        failure = _with_outcome(failure, options, outcome)
        with suppress(KitError):  # it may be the one
            fields = {"error": failure.message, "hint": failure.hint, "exit_code": failure.code}
            progress.result({"type": "error", **fields})
        return failure

    return run_command(act, failed=REFUSED, debugging="--debug", explain=explained)


def _with_outcome(failure: Failure, options: argparse.Namespace, outcome: CopyOutcome) -> Failure:
    """A failure with what became of the target."""
    code = max(failure.code, FAILED)  # a signal's is larger
    if outcome.complete:
        return failure._replace(code=code, hint=f"{_target(options)} is complete all the same")
    if outcome.touched:
        return failure._replace(code=code, hint=_way_out(failure, options, outcome))
    return failure


def _act(options: argparse.Namespace, progress: Progress, outcome: CopyOutcome) -> int:
    names = options.sources
    if options.info or options.inspect:
        from converter.contents import inspect  # it loads libguestfs

        say(inspect.report(names, options.format, deep=options.inspect, as_json=options.json))
        return DONE
    with ExitStack() as stack:
        volume = stack.enter_context(_new_volume(options, outcome)) if options.create else None
        copy_options = _copy_options(options, volume)
        if options.check:
            return _compare(copy_options, progress, outcome)
        if options.swap_only:
            report = convert.make_swap(copy_options, outcome)
        else:
            report = _copy(copy_options, progress, outcome)
    progress.result({"type": "result", **report})
    if options.digest and not options.dry_run and options.progress not in ("json", "json:1"):
        say(printable(f"{report['digest']}  {options.digest}:{options.sources[0]}"))
    return DONE


def _copy_options(options: argparse.Namespace, volume: lvm.LogicalVolume | None) -> CopyOptions:
    return CopyOptions(
        source=options.sources[0],
        target=str(volume.path) if volume else options.sources[1],
        image_format=options.format,
        force=options.force,
        force_file=options.force_file,
        swap=options.swap,
        fix_gpt=options.fix_gpt,
        verify=options.verify,
        digest=options.digest,
        update=options.update,
        resume=options.resume,
        dry_run=options.dry_run,
        made=volume is not None,
        reads_as_zeros=volume is not None and volume.zeroes_new_blocks,
        confirm=_confirmed if sys.stdin.isatty() and sys.stderr.isatty() else None,
    )


def _new_volume(
    options: argparse.Namespace, outcome: CopyOutcome
) -> AbstractContextManager[lvm.LogicalVolume]:
    vg, _, name = options.create.rpartition("/")
    wanted = options.size
    with sources.open_source(options.sources[0], options.format) as source:
        if wanted is None:
            wanted = source.size
        elif wanted < source.size:
            raise KitError(
                f"--size {options.size}: the disk of {source.name} has {source.size} bytes",
                hint="leave --size out, and the volume is as large as the disk",
            )
    return lvm.created(
        vg.removeprefix("/dev/"),
        name,
        wanted,
        options.thin_pool,
        keep=lambda: outcome.touched,
    )


def _copy(copy_options: CopyOptions, progress: Progress, outcome: CopyOutcome) -> dict[str, Any]:
    report = convert.copy(copy_options, progress, outcome)
    if copy_options.dry_run:
        log.log.info("%s", summary(report, "would be copied"))
        return report
    log.log.info("%s", summary(report, "copied"))
    return report


def _compare(copy_options: CopyOptions, progress: Progress, outcome: CopyOutcome) -> int:
    report = convert.check(copy_options, progress, outcome)
    progress.result({"type": "result", **report})
    place = report["first_difference"]
    if place is None:
        log.log.info(
            "%s holds what a copy of %s would make of it", copy_options.target, copy_options.source
        )
        return DONE
    complain(
        f"comparison of {copy_options.target} with {copy_options.source}: different from byte"
        f" {place} on: {report['different_bytes']} bytes are in pages that differ",
        "--update rewrites only what differs",
    )
    return DIFFERENT


def summary(report: Mapping[str, Any], verb: str) -> str:
    """One line on a copy for people; `report` is convert.copy's."""
    extents = report["extents"]
    data = extents["data"] + extents["compressed"]
    zeros = f"{size(extents['zero'])} of zeros"
    if report.get("zeroing"):
        zeros += f" ({report['zeroing']['strategy']})"
    seconds = report.get("seconds", {}).get("copy", 0.0) + report.get("seconds", {}).get("flush", 0)
    rate = f" in {duration(seconds)}, {size(int(data / seconds))}/s" if seconds else ""
    checked = "; read back and verified" if report.get("verified") else ""
    return f"{report['target']}: {size(data)} of data {verb}{rate}; {zeros}{checked}"


def _misused(options: argparse.Namespace) -> str | None:
    """What is wrong with the options taken together."""
    many = options.info or options.inspect
    wanted = 1 if options.create else 2
    if not many and len(options.sources) != wanted:
        return "SRC and DST are needed" if wanted == 2 else "--create takes SRC only: it makes DST"
    if many or options.check or options.swap_only:
        for name in ("digest", "verify", "update", "resume"):
            if getattr(options, name):
                return f"--{name} goes with a copy"
    if (options.size is not None or options.thin_pool) and not options.create:
        return "--size and --thin-pool go with --create"
    if options.create and options.create.removeprefix("/dev/").count("/") != 1:
        return f"--create {options.create}: VG/LV is needed"
    if options.json and not many:
        return "--json goes with --info and --inspect; --progress json reports a copy"
    if options.create and options.resume:
        return "--resume goes on with a volume that is there: name it as DST"
    return None


def _way_out(failure: Failure, options: argparse.Namespace, outcome: CopyOutcome) -> str:
    """The hint after a failure that left the target half done."""
    hint = failure.hint
    if options.create:
        # An interrupted run keeps the volume that it made, a failed one does not.
        if not failure.stopped:
            return f"{hint}; {options.create} was removed"
        return f"go on with: {shlex.join([*RESUME, options.sources[0], _target(options)])}"
    if outcome.resumable is None:
        return f"{hint}; the target is incomplete"
    done = (
        f"{size(outcome.resumable)} of the target are done; go on with the same command and"
        " --resume"
    )
    return done if failure.stopped else f"{hint}; {done}"


def _target(options: argparse.Namespace) -> str:
    """What the user calls the target, or may call the volume that was made."""
    if options.create:
        return f"/dev/{options.create.removeprefix('/dev/')}"
    return str(options.sources[-1])


def _confirmed(question: str) -> bool:
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _progress(text: str) -> str:
    if not re.fullmatch(r"auto|bar|lines|none|json(:[0-9]{1,6})?", text):
        raise argparse.ArgumentTypeError(f"{text}: not one of {PROGRESS}")
    return text
