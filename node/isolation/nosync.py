"""Makes fsync(2) and similar system calls do nothing in a program and its children.

Package managers sync after every step. That takes half the time of a bootstrap on a loop device,
and has no use if the whole result is thrown away after a crash. A seccomp(2) filter lets these
calls succeed at once, whatever C library the programs use. The caller must sync when all is done;
unmounting does.
"""

import os
from collections.abc import Callable
from functools import cache
from threading import Thread

from seccomp import ALLOW, ERRNO, Arch, Attr, SyscallFilter

from node.log import log

# sync_file_range(2) has another order of arguments on PowerPC and ARM, and other names there.
SYSCALLS = (
    *("fsync", "fdatasync", "sync", "syncfs", "msync"),
    *("sync_file_range", "sync_file_range2", "arm_sync_file_range"),
)
# A kernel of the first also runs programs of the second, so a guest may have both.
FAMILIES = ((Arch.X86_64, Arch.X86), (Arch.AARCH64, Arch.ARM), (Arch.MIPSEL64, Arch.MIPSEL))
# Never an open descriptor: a sync that reaches the kernel fails with EBADF.
NOT_OPEN = 2**31 - 1


def sync_filter(architecture: int = Arch.NATIVE) -> SyscallFilter:
    """The filter for an architecture and for the other one that its kernel runs (FAMILIES).

    Raises:
        RuntimeError: libseccomp does not know the architecture.
    """
    made = SyscallFilter(ALLOW)
    if not made.exist_arch(architecture):
        made.add_arch(architecture)
        made.remove_arch(Arch.NATIVE)
    # Allow all calls of other architectures: the default is to kill the program.
    made.set_attr(Attr.ACT_BADARCH, ALLOW)
    # With no_new_privs, set-user-ID programs would not work; root may load a filter without it.
    made.set_attr(Attr.CTL_NNP, False)
    for family in FAMILIES:
        if any(made.exist_arch(member) for member in family):
            for member in family:
                if not made.exist_arch(member):
                    made.add_arch(member)
    for name in SYSCALLS:
        made.add_rule(ERRNO(0), name)
    return made


@cache
def suppressor() -> Callable[[], None]:
    """A function to call between fork(2) and execve(2), so that the program's syncs do nothing.

    If that has no effect on this node, the function does nothing, and a warning is logged once.
    """
    try:
        made = sync_filter()
        _require_effect(made)
    except (OSError, RuntimeError) as error:
        log.warning("seccomp(2) has no effect here, so each sync takes its time: %s", error)
        return lambda: None
    load: Callable[[], None] = made.load
    return load


def _require_effect(made: SyscallFilter) -> None:
    """Tries the filter in a thread, because a filter stays until the thread that loaded it ends.

    Raises:
        RuntimeError: libseccomp or the kernel refuses it.
        OSError: it was loaded, but a sync still reached the kernel.
    """
    failed: list[Exception] = []

    def attempt() -> None:
        try:
            made.load()
            os.fsync(NOT_OPEN)
        except (OSError, RuntimeError) as error:
            failed.append(error)

    thread = Thread(target=attempt)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
