"""Mounts by descriptors: moves a mount into another namespace, and makes trees read-only.

The system calls have no functions in Debian 12's C library; their numbers are the same on all
architectures. Linux has them since 5.12 (mount_setattr(2), the newest one).
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH, _FSCONFIG_CMD_CREATE, _FSMOUNT_CLOEXEC = 1, 4, 6, 1
_FSOPEN_CLOEXEC = 1
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def detached_copy(point: Path) -> int:
    """A copy of a mount that is at no place (open_tree(2)); returns its descriptor.

    It can be sent to a process of another mount namespace, for `attach`.

    Raises:
        OSError: the kernel refuses.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    return _called(point, _OPEN_TREE, _AT_FDCWD, os.fsencode(point), flags)


def attach(descriptor: int, point: Path) -> None:
    """Mounts a detached mount on a directory of our namespace (move_mount(2)).

    Raises:
        OSError: the kernel refuses.
    """
    where = (_AT_FDCWD, os.fsencode(point))
    _called(point, _MOVE_MOUNT, descriptor, b"", *where, _MOVE_MOUNT_F_EMPTY_PATH)


def make_read_only(top: Path) -> None:
    """Makes a mount and all below it read-only, without devices and set-user-ID programs.

    This changes our namespace only (mount_setattr(2)).

    Raises:
        OSError: the kernel refuses; ENOSYS before Linux 5.12.
    """
    attributes = _MountAttr(attr_set=_ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV)
    size = ctypes.sizeof(attributes)
    where = (_AT_FDCWD, os.fsencode(top), _AT_RECURSIVE)
    _called(top, _MOUNT_SETATTR, *where, ctypes.byref(attributes), size)


def fuse_abort(device: str) -> int:
    """A descriptor by which a FUSE file system can be ended; `os.write(it, b"1")` does that.

    It ends wherever it is still mounted or in use: its server gets ENODEV, later calls of its users
    ENOTCONN. If it has ended already, nothing happens, even if its number has been given to another
    one meanwhile.

    Args:
        device: "major:minor" of its mounts, which exist now.

    Raises:
        OSError: the kernel refuses.
    """
    name = f"{device.partition(':')[2]}/abort"
    with _fusectl() as top:
        return os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=top)


@contextmanager
def _fusectl() -> Iterator[int]:
    """The directory of all FUSE connections, mounted at no place."""
    context = _called("fusectl", _FSOPEN, b"fusectl", _FSOPEN_CLOEXEC)
    try:
        _called("fusectl", _FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        top = _called("fusectl", _FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        yield top
    finally:
        os.close(top)


def _called(what: str | Path, number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(what))
    return result
