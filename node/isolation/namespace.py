"""Private mount and PID namespaces: when we die, the kernel takes down what we set up."""

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
from node.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC, mount

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def contained(main: Callable[[], int]) -> int:
    """Runs `main` as the first process of its own PID and mount namespaces; gives its exit code.

    The kernel ends every process of a PID namespace with its first one, and drops the mounts and
    autoclear loop devices that only they held: after SIGKILL nothing stays (pid_namespaces(7),
    mount_namespaces(7)). We wait outside, and pass on the signals that ask us to stop.

    Raises:
        KitError: the kernel refuses the namespaces (not root, or a locked down container).
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
        with suppress(ProcessLookupError):  # it has ended by now
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
            hint="the kernel's OOM killer? dmesg tells; then run it again",
        )
        return 128 - code
    return code


def _first_process(main: Callable[[], int], parent_alive: int, outer: int) -> None:
    code = 1
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the line above; its end of the pipe tells.
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
            hint="dmesg has what the kernel says of it",
        )
    finally:
        flush()
        os._exit(code)
