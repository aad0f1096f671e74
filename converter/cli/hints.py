"""The error line, the hint and the exit code of a failed run of qcow2raw. Pure."""

import argparse
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from converter import errors
from converter.cli.options import target_name
from converter.errors import CopyFailed, CopyStopped, TargetState
from node.program import Failure, failure_of
from node.text import size

REFUSED, FAILED = 3, 4  # exit codes: nothing was written; something was written
DEBUGGING = "--debug"


def _of_format(error: errors.FormatMismatch) -> str:
    if not error.is_certain:
        return f"if it is a {error.fits} disk, use --format {error.fits}"
    option = "leave --format out" if error.is_default else f"--format {error.fits}"
    return f"{option}, if that is its format"


def _of_resume(error: errors.ResumeMismatch) -> str:
    # Only if this is the target of the interrupted copy, its content can surely be overwritten.
    if error.journal is not None:
        return (
            f"copy from the beginning: leave --resume out; remove {error.journal}, if that copy"
            " need not go on"
        )
    if not error.is_certain:
        return (
            "copy from the beginning: leave --resume out; if what the target holds can go: --force"
        )
    return "copy from the beginning: with --force instead of --resume"


# For errors whose remedy is an option; the own hints of all other errors fit here as well.
HINTS: Mapping[type[BaseException], Callable[[Any], str]] = {
    errors.TargetMissing: lambda _: (
        "lvs lists volumes (lvchange -ay VG/LV makes one active), --create VG/LV makes a new one;"
        " --force-file writes to a file"
    ),
    errors.TargetIsFile: lambda _: "if it shall be the target nevertheless: --force-file",
    errors.TargetNotEmpty: lambda _: (
        "if it is not needed: --force; to see details: blkid -p, wipefs --no-act"
    ),
    errors.FormatMismatch: _of_format,
    errors.HibernatedSwap: lambda _: (
        "start it again and shut it down first; or copy its swap too, with --swap copy"
    ),
    errors.SwapNotMade: lambda _: "see mkswap --version; --swap copy works without mkswap",
    errors.NotOneSwapArea: lambda _: "--info shows what is on it",
    errors.ResumeMismatch: _of_resume,
    errors.NotInspectable: lambda _: "copy it first, and inspect the copy with --format raw",
}


def explained(error: BaseException, failure: Failure, options: argparse.Namespace) -> Failure:
    """The failure to print for the error that ended a run.

    Args:
        error: the exception.
        failure: the failure that `node.program` makes of it.
        options: of the run.
    """
    cause = error
    if isinstance(error, CopyFailed):
        cause = error.cause
        failure = failure_of(error.cause, FAILED, DEBUGGING)
    if (own := HINTS.get(type(cause))) is not None:
        failure = failure._replace(hint=own(cause))
    if isinstance(error, CopyFailed | CopyStopped):
        failure = failure._replace(hint=_way_out(error.left, failure, options))
    return failure


def _way_out(left: TargetState, failure: Failure, options: argparse.Namespace) -> str:
    """The hint for a target that was touched."""
    if left.complete:
        return f"{target_name(options)} is complete all the same"
    if options.create:
        # An interrupted run keeps the volume that it made; a failed run removes it.
        if not failure.stopped:
            return f"{failure.hint}; {options.create} was removed"
        resume = ["qcow2raw", "--resume", options.sources[0], target_name(options)]
        return f"go on with: {shlex.join(resume)}"
    if left.resumable_at is None:
        return f"{failure.hint}; the target is incomplete"
    done = (
        f"{size(left.resumable_at)} of the target are done; go on with the same command and"
        " --resume"
    )
    return done if failure.stopped else f"{failure.hint}; {done}"
