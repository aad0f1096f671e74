"""Runs other programs. Only this module starts programs and uses `sh`."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike, fspath
from queue import Queue
from typing import Any, TypedDict, Unpack

from node.cleanup import BLOCKED, signals_blocked
from node.errors import CommandError, KitError
from node.log import log
from node.syscalls import killed_with_parent

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The whole environment of programs, so that a create from a shell and one from Ganeti do the same.
# C.UTF-8 keeps messages in English and names intact.
ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
}

TAIL_LINES = 15
# The last line of tar(1) after any error; the cause is in the lines before it.
_NO_CAUSE = re.compile(
    "Exiting with failure status due to previous errors|Error is not recoverable"
)
# How many lines that are no shell trace are repeated after a trace.
TELLING_LINES = 5
# A shell's `set -x` prints PS4 before each command; it begins with a plus.
TRACE = "+"


@dataclass(frozen=True)
class Result:
    """How a program ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


def _sh() -> Any:
    """The library `sh`, loaded when needed: loading is slow, and most copies run no program."""
    import sh

    return sh


def _suppressor() -> Callable[[], None]:
    """`node.isolation.nosync.suppressor`, loaded when needed: only a create uses its library."""
    from node.isolation.nosync import suppressor

    return suppressor()


def which(program: str) -> str | None:
    """The path of a program of this node, or None."""
    return shutil.which(program, path=PATH)


class Options(TypedDict, total=False):
    """How a program is run; `start` documents each option."""

    input: str | None
    env: Mapping[str, str] | None
    cwd: str | PathLike[str] | None
    check: bool
    on_line: Callable[[str], None] | None
    what: str | None
    syncs: bool
    ends_with_us: bool


def run(argv: Sequence[str | PathLike[str]], **options: Unpack[Options]) -> Result:
    """Runs a program and waits for its end; see `start` for the options and errors."""
    running = None
    try:
        # A signal waits until `running` is set, so that the program can be ended.
        with signals_blocked():
            running = start(argv, **options)
        return running()
    except BaseException:
        if running is not None:
            running.end()
        raise


def start(
    argv: Sequence[str | PathLike[str]],
    *,
    input: str | None = None,  # noqa: A002 - the word that subprocess uses, too
    env: Mapping[str, str] | None = None,
    cwd: str | PathLike[str] | None = None,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
    what: str | None = None,
    syncs: bool = True,
    ends_with_us: bool = False,
) -> "Running":
    """Starts a program; call the result to wait for its end.

    Only this code reports a program that fails: its last lines go to the log, and the very last
    one into the error. If a signal interrupts us, the program and its group are ended first.

    Args:
        argv: the program and its arguments; never a shell's command line.
        input: its stdin, empty by default. Pass secrets here.
        env: added to the fixed environment.
        cwd: the directory that it starts in.
        check: whether an exit code other than 0 is an error.
        on_line: called with each line of stdout and stderr as it is printed.
        what: how errors name the action, as "mkfs of disk 0"; by default the program's name.
        syncs: whether its fsync(2) and similar calls work; False: see `node.isolation.nosync`.
        ends_with_us: whether the kernel kills it when our thread ends, even by SIGKILL. This does
            not include its own children, see `node.syscalls.killed_with_parent`.

    Raises:
        KitError: the program does not exist or cannot be started.
        CommandError: it failed, and `check` is set (raised when the result is called).
    """
    what = what or program_name(argv)
    stdout: list[str] = []
    stderr: list[str] = []

    def collector(lines: list[str]) -> Callable[[str], None]:
        def collect(line: str) -> None:
            lines.append(line)
            if on_line is not None:
                on_line(line.rstrip("\n"))

        return collect

    process = spawn(
        argv,
        what=what,
        stdin=input or "",
        on_stdout=collector(stdout),
        on_stderr=collector(stderr),
        env=env,
        cwd=cwd,
        syncs=syncs,
        ends_with_us=ends_with_us,
    )

    def result() -> Result:
        ended = Result(process.exit_code, "".join(stdout), "".join(stderr))
        if check and ended.exit_code != 0:
            raise _failure(what, ended, shown=on_line is not None)
        return ended

    return Running(process, result)


class Running:
    """A program that was started. Call it to wait for its end and get its result (see `start`)."""

    def __init__(self, process: Any, result: Callable[[], Result]) -> None:
        self._process = process
        self._result = result
        self._awaited = False

    def __call__(self) -> Result:
        """Waits for its end."""
        try:
            self._awaited = True
            with suppress(_sh().ErrorReturnCode):  # raised for signals, whatever _ok_code says
                self._process.wait()
        except BaseException:
            end(self._process)
            raise
        return self._result()

    def end(self) -> None:
        """Kills it and its group, unless it was waited for."""
        if not self._awaited:
            self._awaited = True
            end(self._process)


def program_name(argv: Sequence[str | PathLike[str]]) -> str:
    """The name of a program for messages, without its directory."""
    return fspath(argv[0]).rpartition("/")[2]


def spawn(
    argv: Sequence[str | PathLike[str]],
    *,
    what: str,
    stdin: str | Queue[str | None] | int,
    on_stdout: Callable[[str], None] | int,
    on_stderr: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    cwd: str | PathLike[str] | None = None,
    syncs: bool = True,
    ends_with_us: bool = False,
) -> Any:
    """Starts a program in a session of its own; returns `sh`'s handle. For `start` and services.

    Args:
        stdin: its stdin as a text, a queue of texts that None ends, or a descriptor.
        on_stdout: called with each line, in a thread; or a descriptor that is its stdout.
        on_stderr: called with each line, in a thread.

    Raises:
        KitError: the program does not exist or cannot be executed.
    """
    words = [fspath(word) for word in argv]
    program = which(words[0])
    if program is None:
        raise KitError(
            f"{what}: the program {words[0]} is not on this node",
            hint=f"install the Debian package that contains {words[0]}",
        )
    log.debug("+ %s", " ".join(words))
    process: Any = None
    sh = _sh()
    suppress_syncs = None if syncs else _suppressor()
    us = os.getpid()
    try:
        # A signal before `process` is set would leave the program running. And sh starts threads
        # to read the program's output.
        with signals_blocked():

            def prepare() -> None:
                if ends_with_us:
                    killed_with_parent()
                    if os.getppid() != us:  # we ended before that
                        os.kill(os.getpid(), signal.SIGKILL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
                if suppress_syncs is not None:
                    suppress_syncs()

            # _bg returns a handle in sh 1 and 2 alike; without a _tty_out, programs see pipes.
            process = sh.Command(program)(
                *_arguments(words[1:], sh),
                _bg=True,
                _bg_exc=False,
                _in=stdin,
                _out=on_stdout,
                _err=on_stderr,
                _env={**ENVIRONMENT, **(env or {})},
                _cwd=fspath(cwd) if cwd is not None else None,
                _preexec_fn=prepare,
                _new_session=True,  # not the default of sh 2: the program would be in our group
                _tty_out=False,
                _no_out=True,
                _no_err=True,
                _encoding="utf-8",
                _decode_errors="replace",
                _ok_code=range(256),
            )
    except (OSError, RuntimeError) as error:  # of fork(2), or of starting a reading thread
        raise KitError(
            f"{what}: {program} cannot be started: {getattr(error, 'strerror', None) or error}",
            hint="raise the limits of this process: ulimit -n, -u, -v of the shell, or LimitNOFILE,"
            " TasksMax, MemoryMax of its unit",
        ) from error
    except sh.ForkException as error:
        # Its message is the child's traceback, whose last line has the reason.
        why = str(error).strip().splitlines()[-1]
        raise KitError(
            f"{what}: {program} cannot be executed: {why}",
            hint="check that it is executable, and that the interpreter in its first line exists",
        ) from error
    except BaseException:
        if process is not None:
            end(process)
        raise
    return process


def _arguments(words: Sequence[str], sh: Any) -> Sequence[str | bytes]:
    """Arguments in the type that the installed `sh` takes, so that file names may hold any bytes.

    sh 1 takes bytes, and cannot encode strings with surrogates for bytes (PEP 383). sh 2 takes
    only strings, which os.execv() encodes rightly.
    """
    return [os.fsencode(word) for word in words] if sh.__version__.startswith("1.") else words


def end(process: Any) -> None:
    """Kills a process of `spawn` and its group; does nothing if it has ended."""
    with suppress(ProcessLookupError):
        process.kill_group()
    # A wait that a signal interrupted may have taken its exit status without storing it.
    with suppress(_sh().ErrorReturnCode, ChildProcessError):
        process.wait()


def _failure(what: str, result: Result, *, shown: bool) -> CommandError:
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(TRACE)]
    if not shown:
        for line in lines[-TAIL_LINES:]:
            log.error("  %s: %s", what, line)
    elif len(telling) < len(lines):
        for line in telling[-TELLING_LINES:]:
            log.error("  %s: %s", what, line)
    errors = [line for line in result.stderr.splitlines() if line in telling]
    said = errors or telling or lines or ["no message"]
    causes = [line for line in said if not _NO_CAUSE.search(line)] or said
    ended = (
        f"exit code {result.exit_code}"
        if result.exit_code > 0
        else f"ended by signal {-result.exit_code}"
    )
    return CommandError(
        f"{what}: {causes[-1].strip()} ({ended})",
        exit_code=result.exit_code,
        stdout=result.stdout,
        stderr=result.stderr,
        hint="see the lines above",
    )
