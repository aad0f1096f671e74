"""Runs a program on the user's terminal, such as a shell."""

import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from node.cleanup import BLOCKED, heeded
from node.errors import KitError
from node.log import flush
from node.syscalls import killed_with_parent

GRACE_SECONDS = 3.0
# For the terminal's own keys, which all programs on it get: they mean the program, not us.
KEYS = (signal.SIGINT, signal.SIGQUIT)


def run_on_terminal(
    argv: Sequence[str],
    directory: Path,
    *,
    ending: signal.Signals = signal.SIGHUP,
    grace: float = GRACE_SECONDS,
) -> int:
    """Runs a program with our streams, environment and search path, and waits for its end.

    If SIGKILL ends us, the kernel kills it. If another signal ends us, it gets `ending` first.

    Args:
        argv: the program and its arguments.
        directory: that it starts in.
        ending: by default SIGHUP, as interactive shells ignore SIGTERM.
        grace: seconds from then to SIGKILL.

    Returns:
        Its exit code, or 128 and the number of the signal that ended it.

    Raises:
        KitError: there is no such program.
    """
    program = _found(argv[0])
    ours = {number: signal.getsignal(number) for number in (*heeded(), signal.SIGQUIT)}
    flush()
    us = os.getpid()
    for number in KEYS:
        signal.signal(number, signal.SIG_IGN)
    child = 0
    try:
        child = os.fork()
        if child == 0:
            _become(program, argv, directory, us, list(ours))
        _, status = os.waitpid(child, 0)
        child = 0
    finally:
        if child:
            _end(child, ending, grace)
        for number, handler in ours.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _found(name: str) -> str:
    """The absolute path of a program: the directory that it starts in may have one of that name.

    Raises:
        KitError: there is none.
    """
    program = shutil.which(name, path=os.environ.get("PATH", os.defpath))
    if program is None:
        raise KitError(
            f"program {name}: it is not on this node",
            hint="the command is one of the node's, not of the guest's",
        )
    return str(Path(program).absolute())


def _become(
    program: str, argv: Sequence[str], directory: Path, parent: int, heeded: list[signal.Signals]
) -> None:
    """The new process: never returns."""
    try:
        # Python ignores SIGPIPE. What our caller ignores stays ignored.
        for number in (*heeded, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
        killed_with_parent()
        if os.getppid() == parent:
            os.chdir(directory)
            os.execv(program, list(argv))
    finally:
        os._exit(126)  # as a shell does for what it cannot execute


def _end(child: int, ending: signal.Signals, grace: float) -> None:
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, ending)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            if os.waitpid(child, os.WNOHANG)[0]:
                return
            time.sleep(0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
