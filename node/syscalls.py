"""System calls for which Python has no functions: mount(2), syncfs(2) and others."""

import ctypes
import fcntl
import os
import signal
import struct
from contextlib import suppress
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x2000, 0x4000, 0x40000
UMOUNT_NOFOLLOW = 0x8
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET = 0x04000000, 0x08000000, 0x40000000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
# linux/capability.h; struct __user_cap_data_struct is three numbers, twice.
CAPABILITY_VERSION, CAPABILITY_DATA_SIZE = 0x20080522, 24
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID = 0, 1, 3, 4
# linux/stat.h and linux/fs.h; struct statx begins with the mask of its valid fields.
AT_FDCWD, AT_EMPTY_PATH, AT_STATX_DONT_SYNC = -100, 0x1000, 0x4000
STATX_TYPE, STATX_INO, STATX_BTIME = 0x1, 0x100, 0x800
STATX_SIZE, MODE_OFFSET, INO_OFFSET, BTIME_OFFSET, RDEV_OFFSET = 256, 28, 32, 80, 128
FS_IOC_GETVERSION = 2 << 30 | struct.calcsize("l") << 16 | ord("v") << 8 | 1

RENAME_NOREPLACE = 1  # linux/fs.h

# linux/timex.h
TIMEX_SIZE, TIME_ERROR = 208, 5

_libc = ctypes.CDLL(None, use_errno=True)


def mount(
    source: str | Path | None, target: str | Path, fstype: str | None, flags: int, data: str = ""
) -> None:
    """Mounts a file system without starting a program, which would take 10 ms.

    Raises:
        OSError: the kernel refuses.
    """
    words = [None if word is None else os.fsencode(word) for word in (source, target, fstype)]
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(data)), target)


def umount(target: Path) -> None:
    """Unmounts the newest mount on a directory; does not follow a symlink.

    Raises:
        OSError: it is busy, or no mount point.
    """
    _checked(_libc.umount2(os.fsencode(target), UMOUNT_NOFOLLOW), target)


def rename_new(old: bytes | Path, new: bytes | Path, directory: int | None = None) -> None:
    """Renames a file to a name that nothing has yet (renameat2(2)).

    Args:
        old: its path.
        new: its new path.
        directory: a descriptor of the directory that `new` is below, if it is relative.

    Raises:
        OSError: EEXIST: something has it; EINVAL: the file system cannot do that, as NFS.
    """
    paths = [os.fsencode(path) for path in (old, new)]
    below = AT_FDCWD if directory is None else directory
    _checked(
        _libc.renameat2(AT_FDCWD, paths[0], below, paths[1], RENAME_NOREPLACE), os.fsdecode(new)
    )


def unshare_network() -> None:
    """Moves only the calling thread into a new network namespace (unshare(2)).

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_libc.unshare(CLONE_NEWNET), "/proc/self/ns/net")


def unshare_communication() -> None:
    """Moves us into new namespaces for the network, System V IPC and the host name (unshare(2)).

    Raises:
        OSError: the kernel refuses.
    """
    flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    _checked(_libc.unshare(flags), "/proc/self/ns")


def unshare_mounts() -> None:
    """Moves us into a new mount namespace, whose mounts the others do not see (unshare(2)).

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_libc.unshare(CLONE_NEWNS), "/proc/self/ns/mnt")
    mount(None, "/", None, MS_REC | MS_PRIVATE)


def limit_programs(*kept: int) -> None:
    """Lets programs that we execute have only these capabilities, and no more (capabilities(7)).

    Raises:
        OSError: the kernel refuses.
    """
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in set(range(last + 1)) - set(kept):
        _checked(_libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "capabilities")
    _checked(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def drop_capabilities() -> None:
    """Drops all capabilities of the calling thread for good.

    Raises:
        OSError: the kernel refuses.
    """
    header = struct.pack("Ii", CAPABILITY_VERSION, 0)
    _checked(_libc.capset(header, bytes(CAPABILITY_DATA_SIZE)), "capabilities")


def killed_with_parent() -> None:
    """Has the kernel send us SIGKILL when our parent ends, to be exact: its thread that forked us.

    That holds for all that is executed in our place, but for what gets other credentials by that
    (set-user-ID, file capabilities), and not for children (prctl(2), PR_SET_PDEATHSIG). A parent
    that has ended before is not noticed: the caller has to look.

    Raises:
        OSError: the kernel refuses.
    """
    _checked(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "/proc/self")


def clock_is_synchronised() -> bool:
    """Whether a time service keeps the clock right, as far as the kernel knows (adjtimex(2))."""
    # All zero, the structure changes nothing.
    return bool(_libc.adjtimex(ctypes.create_string_buffer(TIMEX_SIZE)) != TIME_ERROR)


def syncfs(descriptor: int) -> None:
    """Writes the file system of an open file to its device (syncfs(2)).

    Raises:
        OSError: a write failed now, or since the file was opened. Each failure is reported once.
    """
    _checked(_libc.syncfs(descriptor), f"/proc/self/fd/{descriptor}")


def birth(descriptor: int) -> str | None:
    """A text that tells an open file from earlier files with its inode number; None if unknown.

    It holds the time of birth (statx(2), accurate to some milliseconds) and the generation of the
    inode, as far as the file system has them. A file system increases the generation, or chooses
    it at random, when it reuses an inode.
    """
    parts = []
    found = ctypes.create_string_buffer(STATX_SIZE)
    if _libc.statx(descriptor, b"", AT_EMPTY_PATH, STATX_BTIME, found) == 0:
        (mask,) = struct.unpack_from("I", found)
        seconds, nanoseconds = struct.unpack_from("qI", found, BTIME_OFFSET)
        if mask & STATX_BTIME:
            parts.append(f"{seconds}.{nanoseconds:09}")
    with suppress(OSError):
        (generation,) = struct.unpack_from(
            "i", fcntl.ioctl(descriptor, FS_IOC_GETVERSION, bytes(8))
        )
        parts.append(f"generation {generation}")
    return ", ".join(parts) or None


def cached_status(path: Path) -> os.stat_result:
    """Type, device and inode (st_mode, st_dev, st_ino, st_rdev) from the kernel's memory.

    For files that processes have open (/proc/PID/fd): stat(2) would ask the server of a network or
    FUSE file system, and hang if that does not answer (statx(2), AT_STATX_DONT_SYNC).

    Raises:
        OSError: the path does not exist.
    """
    found = ctypes.create_string_buffer(STATX_SIZE)
    mask = STATX_TYPE | STATX_INO
    flags = AT_STATX_DONT_SYNC
    _checked(_libc.statx(AT_FDCWD, os.fsencode(path), flags, mask, found), path)
    (mode,) = struct.unpack_from("H", found, MODE_OFFSET)
    (inode,) = struct.unpack_from("Q", found, INO_OFFSET)
    major, minor, device_major, device_minor = struct.unpack_from("4I", found, RDEV_OFFSET)
    device = os.makedev(device_major, device_minor)
    return os.stat_result((mode, inode, device, *(0,) * 7), {"st_rdev": os.makedev(major, minor)})


def _checked(result: int, path: str | Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
