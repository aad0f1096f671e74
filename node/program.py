"""The beginning and the end of every command: its streams, signals, exit code and last lines."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from node.cleanup import Terminated, signals_deferred, signals_raise
from node.errors import KitError
from node.log import flush, log
from node.text import printable

# What this process may have too little of, and who sets that.
LIMITS = {
    errno.ENOMEM: "give it more: ulimit -v of the shell, MemoryMax of its unit; or free some",
    errno.EMFILE: "ulimit -n of the shell, or LimitNOFILE of its unit, is too low",
    errno.ENFILE: "the whole node has too many files open: sysctl fs.file-max",
    errno.EAGAIN: "it may have no more threads: ulimit -u of the shell, TasksMax of its unit",
}


class Failure(NamedTuple):
    """Why a command ended before its end: its last two lines, and its exit code."""

    message: str
    hint: str
    code: int
    stopped: bool = False  # by a signal: nothing is wrong


def run_command(
    action: Callable[[], int],
    *,
    failed: int,
    debugging: str,
    clean: Callable[[str], str] = printable,
    explain: Callable[[Failure], Failure] = lambda failure: failure,
) -> int:
    """Runs a command; says in one last line why it failed, and in another what to do.

    Args:
        action: gives the exit code; SIGTERM, SIGINT and SIGHUP raise Terminated in it.
        failed: the exit code of a failure; a signal N makes it 128 + N.
        debugging: how users turn on the log's debug lines, for the hint of a bug.
        clean: makes a message fit for where the last lines go.
        explain: adds to a failure what only this command knows, before it is said.

    Returns:
        The exit code. What fails is not raised.
    """
    try:
        # What is said at the end belongs to it: a second signal must not cut that off.
        with signals_raise():
            try:
                return action()
            except Terminated as signal:
                code = 128 + signal.number
                failure = Failure(f"stopped by {signal}", "run it again", code, stopped=True)
            except Exception as error:  # whatever it is, the user gets a last line
                log.debug("what failed, and where:", exc_info=error)
                failure = failure_of(error, failed, debugging)
            with signals_deferred():
                failure = explain(failure)
                complain(failure.message, failure.hint, clean)
            return failure.code
    except Terminated as signal:  # the first one, while something was said at the end
        return 128 + signal.number


def failure_of(error: Exception, code: int, debugging: str) -> Failure:
    """What an error says to people."""
    if isinstance(error, KitError):
        return Failure(error.message, error.hint, code)
    if isinstance(error, MemoryError):
        return Failure("memory: there is no more for this process", LIMITS[errno.ENOMEM], code)
    if isinstance(error, OSError):
        why = error.strerror or str(error)
        if error.errno in LIMITS:
            return Failure(f"limits of this process: {why}", LIMITS[error.errno], code)
        # One of a file that nobody has foreseen.
        what = "a system call" if error.filename is None else os.fsdecode(error.filename)
        hint = f"dmesg and df tell more; {debugging} shows what was being done"
        return Failure(f"{what}: {why}", hint, code)
    return Failure(
        f"unexpected: {type(error).__name__}: {error}",
        f"this is a bug: run with {debugging} and report what it prints",
        code,
    )


def complain(message: str, hint: str, clean: Callable[[str], str] = printable) -> None:
    """Prints the last two lines of a failure to stderr, behind all that was written before."""
    flush()
    with suppress(OSError):  # there is nobody else to tell
        print(f"error: {clean(message)}", file=sys.stderr)
        print(f"hint: {clean(hint)}", file=sys.stderr)
        sys.stderr.flush()


def say(text: str) -> None:
    """Prints a result to stdout.

    Raises:
        KitError: it cannot be; whoever relies on it must know.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        raise KitError(
            f"write to stdout: {error.strerror}", hint="what reads it has ended, or is full"
        ) from error


def open_streams() -> None:
    """Opens the standard streams that are closed; to be called before anything else is opened.

    Else an image or a target would get their numbers, and be written what is meant for stderr.
    A closed stdout stays one that cannot be written.
    """
    for number, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_RDONLY),
        (2, "stderr", os.O_WRONLY),
    ):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # it gets the lowest number that is free: this one
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    # Names may have characters that the locale has not; stderr escapes them, stdout would fail.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def give_up_streams() -> None:
    """Keeps what streams did not take from failing once more, when Python ends: with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
