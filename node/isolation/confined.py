"""Work on bytes that may be hostile, in a process that can read them and do nothing else."""

import ctypes
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from seccomp import ALLOW, ERRNO, SyscallFilter

from node.cleanup import signals_blocked
from node.log import flush

SECONDS = 60
NOBODY = 65534  # base-passwd's nobody and nogroup
MEMORY = 1 << 30  # bytes of address space that it may take in addition to what we have
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
_EPERM = 1
# What Python needs to compute, read at a place and end: nothing opens or changes anything.
SYSCALLS = (
    *("pread64", "read", "write", "exit", "exit_group", "brk", "mmap", "mmap2", "munmap", "mremap"),
    *("mprotect", "madvise", "futex", "rt_sigreturn", "clock_gettime", "getrandom"),
)
LIMITS = {
    resource.RLIMIT_CPU: SECONDS,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_NOFILE: 0,
}

_libc = ctypes.CDLL(None, use_errno=True)


class ConfinedError(ValueError):
    """The work was not done; says how it ended."""


def confined(work: Callable[[], bytes], *, readable: int, most: int) -> bytes:
    """Does some work in a process of its own, and gives what came of it.

    That process is nobody's, has no descriptor but `readable` and a pipe to us, and system calls
    that read, allocate memory and write to the pipe. It must be called before threads are begun.

    Args:
        work: it may read from `readable`, at any place.
        readable: a descriptor.
        most: bytes that it may give.

    Raises:
        ConfinedError: it gave nothing, too much, or did not end in SECONDS.
    """
    allowed = SyscallFilter(ERRNO(_EPERM))
    for name in SYSCALLS:
        with suppress(RuntimeError):  # not on every architecture
            allowed.add_rule(ALLOW, name)
    flush()
    parent = os.getpid()
    ours, theirs = os.pipe()
    child = 0
    try:
        with signals_blocked():
            child = os.fork()
            if child == 0:
                _do(work, readable, theirs, allowed, parent)
        os.close(theirs)
        theirs = -1
        found = _received(ours, most)
        _, status = os.waitpid(child, 0)
        child = 0
        if status:
            code = os.waitstatus_to_exitcode(status)
            raise ConfinedError("it failed" if code > 0 else f"it was ended by signal {-code}")
        return found
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _received(pipe: int, most: int) -> bytes:
    found = bytearray()
    deadline = time.monotonic() + SECONDS
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while True:
        if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
            raise ConfinedError(f"it took more than {SECONDS} s")
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return bytes(found)
        found += piece
        if len(found) > most:
            raise ConfinedError("it gave more than it may")


def _do(
    work: Callable[[], bytes], readable: int, pipe: int, allowed: SyscallFilter, parent: int
) -> None:
    """The process: never returns."""
    code = 1
    try:
        low, high = sorted((readable, pipe))
        last = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - no objects, no names
        for first, end in ((0, low), (low + 1, high), (high + 1, last + 1)):
            os.closerange(first, end)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        # After the change of user, which clears it.
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent or _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return
        # It has all that we have mapped: that may be a whole disk.
        space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        for limit, value in {**LIMITS, resource.RLIMIT_AS: space + MEMORY}.items():
            resource.setrlimit(limit, (value, value))
        allowed.load()
        found = memoryview(work())
        while found:
            found = found[os.write(pipe, found) :]
        code = 0
    finally:
        os._exit(code)
