"""The start and end of every command: streams, signals, exit code, `error:` and `hint:`."""

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

# Limits of this process, and where each is set.
LIMITS = {
    errno.ENOMEM: "free memory, or raise ulimit -v of the shell, or MemoryMax of its unit",
    errno.EMFILE: "raise ulimit -n of the shell, or LimitNOFILE of its unit",
    errno.ENFILE: "the whole node has too many files open: raise sysctl fs.file-max",
    errno.EAGAIN: "no more threads are allowed: raise ulimit -u or -v of the shell, or TasksMax of"
    " its unit",
}
NO_THREAD = "can't start new thread"  # CPython's words (Modules/_threadmodule.c), of a RuntimeError


class Failure(NamedTuple):
    """Why a command failed: the text of its last two lines, and its exit code."""

    message: str
    hint: str
    code: int
    stopped: bool = False  # by a signal, not by an error


def run_command(
    action: Callable[[], int],
    *,
    failed: int,
    debugging: str,
    clean: Callable[[str], str] = printable,
    explain: Callable[[BaseException, Failure], Failure] = lambda _, failure: failure,
) -> int:
    """Runs a command; if it fails, prints why (`error:`) and what to do (`hint:`).

    Args:
        action: returns the exit code; SIGTERM, SIGINT and SIGHUP raise Terminated in it.
        failed: the exit code of a failure; after a signal N it is 128 + N.
        debugging: how users turn on the log's debug lines, for the hint of a bug.
        clean: makes the last lines fit for the stream that they go to.
        explain: adds to a failure what only this command knows of the error, before it is printed.

    Returns:
        The exit code. Errors are not raised.
    """
    try:
        # Printing the last lines is part of the command: a second signal must not cut them off.
        with signals_raise():
            ended: BaseException
            try:
                return action()
            except Terminated as signal:
                ended = signal
                code = 128 + signal.number
                failure = Failure(f"stopped by {signal}", "run it again", code, stopped=True)
            except Exception as error:  # whatever it is, the user gets a last line
                ended = error
                log.debug("what failed, and where:", exc_info=error)
                failure = failure_of(error, failed, debugging)
            with signals_deferred():
                failure = explain(ended, failure)
                complain(failure.message, failure.hint, clean)
            return failure.code
    except Terminated as signal:  # the first one came while the last lines were printed
        return 128 + signal.number


def failure_of(error: Exception, code: int, debugging: str) -> Failure:
    """The message and hint for an error.

    Args:
        error: what was raised.
        code: the exit code of a failure.
        debugging: see `run_command`.
    """
    if isinstance(error, KitError):
        return Failure(error.message, error.hint, code)
    if isinstance(error, MemoryError):
        return Failure("memory: this process cannot get more", LIMITS[errno.ENOMEM], code)
    if isinstance(error, RuntimeError) and str(error) == NO_THREAD:
        return Failure(f"limits of this process: {error}", LIMITS[errno.EAGAIN], code)
    if isinstance(error, OSError):
        why = error.strerror or str(error)
        if error.errno in LIMITS:
            return Failure(f"limits of this process: {why}", LIMITS[error.errno], code)
        # An error that no other code has handled.
        what = "a system call" if error.filename is None else os.fsdecode(error.filename)
        hint = f"see dmesg and df; {debugging} shows what was being done"
        return Failure(f"{what}: {why}", hint, code)
    return Failure(
        f"unexpected: {type(error).__name__}: {error}",
        f"this is a bug: run with {debugging} and report what it prints",
        code,
    )


def complain(message: str, hint: str, clean: Callable[[str], str] = printable) -> None:
    """Prints the last two lines of a failure to stderr, after flushing all other output."""
    flush()
    with suppress(OSError):  # no other stream is left to report it
        print(f"error: {clean(message)}", file=sys.stderr)
        print(f"hint: {clean(hint)}", file=sys.stderr)
        sys.stderr.flush()


def say(text: str) -> None:
    """Prints a result to stdout.

    Raises:
        KitError: it cannot be written. The command must fail then: its result is incomplete.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        raise KitError(
            f"write to stdout: {error.strerror}",
            hint="the reader of the pipe has ended, or the disk is full",
        ) from error


def can_ask() -> bool:
    """Whether a user can answer questions: there is a terminal, on both stdin and stderr."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Asks the user on the terminal; False without one, on both stdin and stderr."""
    if not can_ask():
        return False
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def open_streams() -> None:
    """Opens the standard streams that are closed; call it before anything else is opened.

    Otherwise an image or a target could get number 2, and error messages would be written to it.
    A closed stdout is opened for reading only, so that writing to it still fails.
    """
    for number, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_RDONLY),
        (2, "stderr", os.O_WRONLY),
    ):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest free number, which is this one
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    # Names may have characters that the locale lacks: stderr escapes them, stdout would fail.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def give_up_streams() -> None:
    """Redirects streams that fail to /dev/null: Python's flush at its exit would end with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
