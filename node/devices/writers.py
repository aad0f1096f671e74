"""Finds who may write to a source: a copy of it would be inconsistent or out of date."""

import errno
import fcntl
import os
import signal
import stat

from node.devices.holders import block_user, is_swap_file, loop_over
from node.processes import file_system

# These refuse every lease that their server does not grant, as if the file were open for writing.
# None: the file system is not known.
_WITHOUT_LEASES = ("nfs4", "cifs", "smb3", None)


def writer(fd: int) -> str | None:
    """Who may write to an open file or block device, in words; None if nobody may.

    A loop device that may write counts as well: if a file system on it is mounted, the newest
    data may be only in the loop device's page cache. Not checked here: O_EXCL and QEMU's locks
    (`node.devices.qemu_locks`).

    Args:
        fd: opened for reading only.
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
    """The errno with which the kernel refuses a read lease (fcntl(2), F_SETLEASE); None: granted.

    If it is granted, no process and nothing in the kernel has the file open for writing. Whoever
    opens it for writing during the lease has to wait, and we get a signal: SIGURG, which is ignored
    by default.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return None
