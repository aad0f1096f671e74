"""Who may write to what we only read: its bytes would be of no one moment, or out of date."""

import errno
import fcntl
import os
import signal
import stat

from node.devices.holders import block_user, is_swap_file, loop_over
from node.processes import file_system

# They refuse every lease that their server does not back, as if the file were open for writing.
_WITHOUT_LEASES = ("nfs4", "cifs", "smb3", None)


def writer(fd: int) -> str | None:
    """Who may write to an open file or block device, in words; None if nobody may.

    A file system that is mounted through a loop device is a writer, too: much of what it holds
    stands in the memory of the loop device alone. Claims that the kernel enforces (O_EXCL) are not
    looked at, nor QEMU's locks (`node.devices.qemu_locks`).

    Args:
        fd: opened for reading alone.
    """
    own = os.fstat(fd)
    is_file = stat.S_ISREG(own.st_mode)
    refusal = _refusal_of_a_lease(fd) if is_file else None
    if is_file and refusal is None:
        return None
    if loop := loop_over(own, writing=True):
        return f"attached as {loop}"
    if is_file and is_swap_file(own):
        return "active as swap"
    if user := block_user(own, writing=True):
        return f"{user} has it open for writing"
    if refusal == errno.EAGAIN and file_system(fd) not in _WITHOUT_LEASES:
        return "something in the kernel has it open for writing"
    return None


def _refusal_of_a_lease(fd: int) -> int | None:
    """Why the kernel gives no lease of reading (fcntl(2), F_SETLEASE); None if it does.

    Then nothing has the file open for writing, no process and not the kernel itself. Who does so
    while the lease lasts has to wait, and we get a signal: one that nobody minds.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return None
