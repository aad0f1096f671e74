"""Runs other programs: the one place that does, and the only user of `sh`."""

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

from node.cleanup import SIGNALS, signals_blocked
from node.errors import CommandError, KitError
from node.log import log

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Ganeti has cleaned our environment; programs get no more than this, so that a create from a
# shell and one from Ganeti do the same. C.UTF-8 keeps messages parsable and names intact.
ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
}

TAIL_LINES = 15
# What tar(1) says at its end, whatever the cause, which stands before it.
_NO_CAUSE = re.compile(
    "Exiting with failure status due to previous errors|Error is not recoverable"
)
# How many lines are shown once more where a shell's trace stands between them.
TELLING_LINES = 5
# What `set -x` of a shell puts before each command: PS4, which begins with a plus.
TRACE = "+"


@dataclass(frozen=True)
class Result:
    """How a program ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


def _sh() -> Any:
    """The library `sh`: loading it takes long, and a copy of a local image runs no program."""
    import sh

    return sh


def _suppressor() -> Callable[[], None]:
    """See `node.isolation.nosync`: only a create leaves out syncs, and needs its library."""
    from node.isolation.nosync import suppressor

    return suppressor()


def which(program: str) -> str | None:
    """The path of a program of this node, or None."""
    return shutil.which(program, path=PATH)


class Options(TypedDict, total=False):
    """How a program is run; `start` says what each means."""

    input: str | None
    env: Mapping[str, str] | None
    cwd: str | PathLike[str] | None
    check: bool
    on_line: Callable[[str], None] | None
    what: str | None
    syncs: bool


def run(argv: Sequence[str | PathLike[str]], **options: Unpack[Options]) -> Result:
    """Runs a program to its end; all else is as `start` has it."""
    running = None
    try:
        # A signal waits until there is something to end.
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
) -> "Running":
    """Starts a program; what it gives awaits its end when it is called.

    A program that fails is reported here and nowhere else: its last lines go to the log, the last
    of all into the error. When we are interrupted, the program and its group are ended first.

    Args:
        argv: the program and its arguments; never a shell's command line.
        input: what it reads on stdin (secrets travel here); nothing by default.
        env: added to the fixed environment.
        cwd: the directory that it starts in.
        check: whether an exit code other than 0 is an error.
        on_line: called with each line of stdout and stderr as it comes.
        what: the phrase for the error, "mkfs of disk 0"; the program's name by default.
        syncs: whether its fsync(2) and the like are done; without, see `node.isolation.nosync`.

    Raises:
        KitError: the program does not exist.
        CommandError: it failed, and `check` is set.
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
    )

    def result() -> Result:
        ended = Result(process.exit_code, "".join(stdout), "".join(stderr))
        if check and ended.exit_code != 0:
            raise _failure(what, ended, shown=on_line is not None)
        return ended

    return Running(process, result)


class Running:
    """A program that was started. Call it to await its end and get its result, as `start` says."""

    def __init__(self, process: Any, result: Callable[[], Result]) -> None:
        self._process = process
        self._result = result
        self._awaited = False

    def __call__(self) -> Result:
        """Awaits its end."""
        try:
            self._awaited = True
            with suppress(_sh().ErrorReturnCode):  # raised for signals, whatever _ok_code says
                self._process.wait()
        except BaseException:
            end(self._process)
            raise
        return self._result()

    def end(self) -> None:
        """Ends it with its group, unless it was awaited."""
        if not self._awaited:
            self._awaited = True
            end(self._process)


def program_name(argv: Sequence[str | PathLike[str]]) -> str:
    """What a program is called where nothing better is known."""
    return fspath(argv[0]).rpartition("/")[2]


def spawn(
    argv: Sequence[str | PathLike[str]],
    *,
    what: str,
    stdin: str | Queue[str | None],
    on_stdout: Callable[[str], None],
    on_stderr: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    cwd: str | PathLike[str] | None = None,
    syncs: bool = True,
) -> Any:
    """Starts a program in a session of its own; gives `sh`'s handle: see `start`, `node.service`.

    Args:
        stdin: what it reads; of a queue, until None comes.
        on_stdout: called with each line, in a thread.
        on_stderr: likewise.

    Raises:
        KitError: the program does not exist or cannot be executed.
    """
    words = [fspath(word) for word in argv]
    program = which(words[0])
    if program is None:
        raise KitError(
            f"{what}: the program {words[0]} is not on this node",
            hint=f"install the Debian package that holds {words[0]}",
        )
    log.debug("+ %s", " ".join(words))
    process: Any = None
    sh = _sh()
    suppress_syncs = None if syncs else _suppressor()
    try:
        # A signal while the program starts would leave it running: nobody knew of it yet. And sh
        # reads what the program writes in threads.
        with signals_blocked():

            def prepare() -> None:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
                if suppress_syncs is not None:
                    suppress_syncs()

            # _bg gives a handle under sh 1 and 2 alike; without _tty_out programs see pipes.
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
                _new_session=True,  # sh 2 no longer does so by itself, and its group would be ours
                _tty_out=False,
                _no_out=True,
                _no_err=True,
                _encoding="utf-8",
                _decode_errors="replace",
                _ok_code=range(256),
            )
    except (OSError, RuntimeError) as error:  # of fork(2); and of a thread that reads its output
        raise KitError(
            f"{what}: {program} cannot be started: {getattr(error, 'strerror', None) or error}",
            hint="give this process more: ulimit -n, -u, -v of the shell, LimitNOFILE, TasksMax,"
            " MemoryMax of its unit",
        ) from error
    except sh.ForkException as error:
        # Of its message, the last line of the child's traceback tells.
        why = str(error).strip().splitlines()[-1]
        raise KitError(
            f"{what}: {program} cannot be executed: {why}",
            hint="is it executable, and is the interpreter in its first line on this node?",
        ) from error
    except BaseException:
        if process is not None:
            end(process)
        raise
    return process


def _arguments(words: Sequence[str], sh: Any) -> Sequence[str | bytes]:
    """Arguments as the library takes them, names of files that are no text among them.

    sh 1 encodes strings, and knows nothing of the surrogates that stand for bytes (PEP 383); sh 2
    leaves that to execv(2), and takes no bytes.
    """
    return [os.fsencode(word) for word in words] if sh.__version__.startswith("1.") else words


def end(process: Any) -> None:
    """Kills what `spawn` gave, and its group; a process that has ended is fine, too."""
    with suppress(ProcessLookupError):
        process.kill_group()
    # It may have been awaited by whom a signal then interrupted, before the result was noted.
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
        hint="the lines above have more",
    )
