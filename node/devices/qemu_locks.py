"""The byte locks by which QEMU tells others what it does with an image, file or device alike.

QEMU's block/file-posix.c (raw_apply_lock_bytes): byte 100 + n is read-locked by whoever has
permission n, byte 200 + n by whoever does not let others have it, n being 1 for writing. The locks
are those of open file descriptions (fcntl_locking(2)). They stand on the inode, so that another
node of the same device (mknod(1)) shows none: `node.devices.holders.block_user` finds who has that
open.
"""

import errno
import fcntl
import os
import struct

# Python has no names for these.
F_OFD_GETLK, F_OFD_SETLK = 36, 37
# struct flock: l_type, l_whence, l_start, l_len (0: to the end), l_pid
_FLOCK = struct.Struct("hhqqi4x")
WRITES, NO_OTHER_WRITES = 101, 201


def is_written(fd: int) -> bool:
    """Whether a QEMU may write to what is open, or another holds all of it (`lock_whole`).

    Raises:
        OSError: its file system has no such locks.
    """
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, WRITES, 1, 0)
    (found, *_) = _FLOCK.unpack(fcntl.fcntl(fd, F_OFD_GETLK, asked))
    return bool(found != fcntl.F_UNLCK)


def keep_writers_out(fd: int) -> bool:
    """Sees to it that no QEMU begins to write; lasts until it is closed. False: one has it locked.

    Raises:
        OSError: its file system has no such locks.
    """
    return _locked(fd, fcntl.F_RDLCK, NO_OTHER_WRITES, 1)


def lock_whole(fd: int) -> bool:
    """Locks all of what is open for writing, until it is closed; False: another has a part locked.

    No QEMU that locks can have it open then, not even for reading.

    Raises:
        OSError: its file system has no such locks.
    """
    return _locked(fd, fcntl.F_WRLCK, 0, 0)


def _locked(fd: int, kind: int, start: int, length: int) -> bool:
    try:
        fcntl.fcntl(fd, F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):  # either, says fcntl_locking(2)
            return False
        raise
    return True
