"""What qcow2raw says of a failure: why, what to do about it, and its exit code. Pure."""

import argparse
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from converter import errors
from converter.cli.options import target_name
from converter.errors import CopyFailed, CopyStopped, TargetState
from node.program import Failure, failure_of
from node.text import size

REFUSED, FAILED = 3, 4  # exit codes: nothing was written, or something
DEBUGGING = "--debug"
FROM_THE_BEGINNING = "copy from the beginning: with --force instead of --resume"


def _of_format(error: errors.FormatMismatch) -> str:
    if not error.is_certain:
        return f"if it is a {error.fits} disk, say --format {error.fits}"
    option = "leave --format out" if error.is_default else f"--format {error.fits}"
    return f"{option}, if that is what it should be"


def _of_resume(error: errors.ResumeMismatch) -> str:
    if error.journal is None:
        return FROM_THE_BEGINNING
    return f"{FROM_THE_BEGINNING}; and remove {error.journal}, if that copy is not to go on"


# Where an option is the remedy; what is not here has its own hint, which is right for us as well.
HINTS: Mapping[type[BaseException], Callable[[Any], str]] = {
    errors.TargetMissing: lambda _: (
        "lvs lists volumes (lvchange -ay VG/LV makes one active), --create VG/LV makes a new one;"
        " --force-file writes to a file"
    ),
    errors.TargetIsFile: lambda _: "if it is to be the target all the same: --force-file",
    errors.TargetNotEmpty: lambda _: (
        "if that can go: --force; to see more of it: blkid -p, wipefs --no-act"
    ),
    errors.FormatMismatch: _of_format,
    errors.HibernatedSwap: lambda _: (
        "start it again and shut it down first; or take it along with --swap copy"
    ),
    errors.SwapNotMade: lambda _: "mkswap --version tells which it is; --swap copy does without it",
    errors.NotOneSwapArea: lambda _: "--info shows what is on it",
    errors.ResumeMismatch: _of_resume,
    errors.NotInspectable: lambda _: "copy it first, and inspect the copy with --format raw",
}


def explained(error: BaseException, failure: Failure, options: argparse.Namespace) -> Failure:
    """What to say of the error that ended a run.

    Args:
        error: what was raised.
        failure: what every command would say of it.
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
    """What to do with a target that was touched."""
    if left.complete:
        return f"{target_name(options)} is complete all the same"
    if options.create:
        # An interrupted run keeps the volume that it made, a failed one does not.
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
