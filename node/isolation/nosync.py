"""Programs for which fsync(2) and its kin do nothing.

Package managers sync after every step, each time down to the platter. Where the whole result is
thrown away after a crash, that is time lost: half of a bootstrap on a loop device. A seccomp(2)
filter lets these calls succeed at once, for the program and all of its children, whatever C
library they bring. The caller syncs when all is done; unmounting does.
"""

import os
from collections.abc import Callable
from functools import cache
from threading import Thread

from seccomp import ALLOW, ERRNO, Arch, Attr, SyscallFilter

from node.log import log

# sync_file_range(2) has other names where its arguments come in another order: on PowerPC, on ARM.
SYSCALLS = (
    *("fsync", "fdatasync", "sync", "syncfs", "msync"),
    *("sync_file_range", "sync_file_range2", "arm_sync_file_range"),
)
# One kernel runs the programs of both, and so may a guest's.
FAMILIES = ((Arch.X86_64, Arch.X86), (Arch.AARCH64, Arch.ARM), (Arch.MIPSEL64, Arch.MIPSEL))
# No open file: the kernel, where it is asked to sync it, answers EBADF.
NOT_OPEN = 2**31 - 1


def sync_filter(architecture: int = Arch.NATIVE) -> SyscallFilter:
    """The filter for programs of an architecture, and of those that its kernel runs as well.

    Raises:
        RuntimeError: libseccomp does not know the architecture.
    """
    made = SyscallFilter(ALLOW)
    if not made.exist_arch(architecture):
        made.add_arch(architecture)
        made.remove_arch(Arch.NATIVE)
    # Of what is neither, all calls are done: the default is to kill.
    made.set_attr(Attr.ACT_BADARCH, ALLOW)
    # no_new_privs would keep set-user-ID programs from working; root can do without.
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
    """What a process calls between fork(2) and execve(2) to go on without syncs.

    Where that has no effect on this node, it does nothing, and a warning says so, once.
    """
    try:
        made = sync_filter()
        _require_effect(made)
    except (OSError, RuntimeError) as error:
        log.warning("seccomp(2) has no effect here, programs wait for each sync: %s", error)
        return lambda: None
    load: Callable[[], None] = made.load
    return load


def _require_effect(made: SyscallFilter) -> None:
    """Tries the filter in a thread: it holds for the thread that loads it, and ends with it.

    Raises:
        RuntimeError: libseccomp or the kernel refuse it.
        OSError: it was loaded, and yet syncs are done.
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
