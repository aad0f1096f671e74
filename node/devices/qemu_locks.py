"""The byte locks by which QEMU processes share or refuse access to an image file or device.

QEMU's block/file-posix.c (raw_apply_lock_bytes): a process that has permission n holds a read lock
on byte 100 + n; one that denies permission n to others holds a read lock on byte 200 + n. For
writing n is 1. The locks belong to open file descriptions (fcntl_locking(2)) and to the inode: a
second device node of the same device (mknod(1)) does not show them.
`node.devices.holders.block_user` finds processes that have such a node open.
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
    """Whether a QEMU may write to the open file, or another process holds it by `lock_whole`.

    Raises:
        OSError: its file system has no such locks.
    """
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _WRITES, 1, 0)
    (found, *_) = _FLOCK.unpack(fcntl.fcntl(fd, F_OFD_GETLK, asked))
    return bool(found != fcntl.F_UNLCK)


def shows_writer(locks: Iterable[str], device: int) -> bool:
    """As `is_written`, for a file of another host, from that host's /proc/locks.

    A QEMU that only reads holds no lock on the byte for writing.

    Args:
        locks: the lines of /proc/locks (proc(5)) that have the file's inode.
        device: the file's st_dev there; other file systems use the same inode numbers.

    Raises:
        ValueError: the lines have another format.
    """
    ranges = [line.split()[-3:] for line in locks if line.strip() and "->" not in line]
    return any(
        _is_on(place, device) and int(first) <= _WRITES and (last == "EOF" or int(last) >= _WRITES)
        for place, first, last in ranges
    )


def _is_on(place: str, device: int) -> bool:
    """Whether a lock's place, major:minor:inode, may be on a device.

    For btrfs and similar file systems stat(2) returns another minor number than /proc/locks; the
    major number is 0 in both.
    """
    major, minor, _inode = place.split(":")
    same = os.makedev(int(major, 16), int(minor, 16)) == device
    return same or int(major, 16) == os.major(device) == 0


def keep_writers_out(fd: int) -> bool:
    """Keeps QEMU from opening a file for writing until `fd` is closed.

    Returns:
        False if another process holds a conflicting lock.

    Raises:
        OSError: its file system has no such locks.
    """
    return _locked(fd, fcntl.F_RDLCK, _NO_OTHER_WRITES, 1)


def lock_whole(fd: int) -> bool:
    """Locks the whole file for writing until `fd` is closed; QEMU cannot even read it then.

    Returns:
        False if another process has a part of it locked.

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
