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
from collections.abc import Iterable

# Python has no names for these.
F_OFD_GETLK, F_OFD_SETLK = 36, 37
# struct flock: l_type, l_whence, l_start, l_len (0: to the end), l_pid
_FLOCK = struct.Struct("hhqqi4x")
_WRITES, _NO_OTHER_WRITES = 101, 201


def is_written(fd: int) -> bool:
    """Whether a QEMU may write to what is open, or another holds all of it (`lock_whole`).

    Raises:
        OSError: its file system has no such locks.
    """
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _WRITES, 1, 0)
    (found, *_) = _FLOCK.unpack(fcntl.fcntl(fd, F_OFD_GETLK, asked))
    return bool(found != fcntl.F_UNLCK)


def shows_writer(locks: Iterable[str], device: int) -> bool:
    """Whether a QEMU may write to a file, as `is_written` has it; of a host that we only ask.

    A QEMU that only reads has no lock there.

    Args:
        locks: those lines of that host's /proc/locks (proc(5)) that have the file's inode.
        device: that the file is on there: another file system has the same inodes.

    Raises:
        ValueError: they are something else.
    """
    ranges = [line.split()[-3:] for line in locks if line.strip() and "->" not in line]
    return any(
        _is_on(place, device) and int(first) <= _WRITES and (last == "EOF" or int(last) >= _WRITES)
        for place, first, last in ranges
    )


def _is_on(place: str, device: int) -> bool:
    """Whether a place, major:minor:inode, may be on a device.

    Of btrfs and the like, stat(2) tells another minor number, of the major number 0 as well.
    """
    major, minor, _inode = place.split(":")
    same = os.makedev(int(major, 16), int(minor, 16)) == device
    return same or int(major, 16) == os.major(device) == 0


def keep_writers_out(fd: int) -> bool:
    """Sees to it that no QEMU begins to write; lasts until it is closed. False: one has it locked.

    Raises:
        OSError: its file system has no such locks.
    """
    return _locked(fd, fcntl.F_RDLCK, _NO_OTHER_WRITES, 1)


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
