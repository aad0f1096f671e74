"""Private mount and PID namespaces, which the kernel cleans up when we die."""

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from node.cleanup import SIGNALS, heeded
from node.errors import KitError
from node.log import flush
from node.processes import see_outside
from node.program import complain
from node.syscalls import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    killed_with_parent,
    mount,
)

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000

_libc = ctypes.CDLL(None, use_errno=True)


def contained(main: Callable[[], int]) -> int:
    """Runs `main` as the first process of new PID and mount namespaces; returns its exit code.

    When the first process of a PID namespace ends, the kernel kills all others in it. It also
    drops the mounts and autoclear loop devices that only they held, so nothing stays after SIGKILL
    (pid_namespaces(7), mount_namespaces(7)). The caller waits outside and forwards SIGNALS.

    Raises:
        KitError: the kernel refuses the namespaces (not root, or a restricted container).
    """
    outer = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if _libc.unshare(CLONE_NEWNS | CLONE_NEWPID) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise KitError(
            f"namespaces of this process: the kernel refuses them: {reason}",
            hint="run as root, outside of containers that forbid unshare(2)",
        )
    flush()
    parent_alive, parent_end = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        os.close(parent_end)
        _first_process(main, parent_alive, outer)
    os.close(outer)
    os.close(parent_alive)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(child, number)

    for number in heeded():
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        name = signal.Signals(-code).name
        complain(
            f"the process that did the work: ended by {name}",
            hint="see dmesg, perhaps it was the kernel's OOM killer; then run it again",
        )
        return 128 - code
    return code


def _first_process(main: Callable[[], int], parent_alive: int, outer: int) -> None:
    code = 1
    try:
        killed_with_parent()
        # The parent may have died before the line above; then its end of the pipe is closed.
        os.set_blocking(parent_alive, False)
        try:
            orphaned = os.read(parent_alive, 1) == b""
        except BlockingIOError:
            orphaned = False
        if not orphaned:
            mount(None, "/", None, MS_REC | MS_PRIVATE)
            mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
            see_outside(Path(f"/proc/self/fd/{outer}"))
            code = main()
    except OSError as error:
        complain(
            f"mount of {error.filename}: {error.strerror}",
            hint="see dmesg for the kernel's reason",
        )
    finally:
        flush()
        os._exit(code)
