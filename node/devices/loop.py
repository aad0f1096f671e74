"""Loop devices that the kernel detaches by itself after their last user (autoclear, loop(4))."""

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil, floor
from pathlib import Path

from node import text
from node.cleanup import undone
from node.devices.claim import Backing
from node.errors import KitError
from node.files import kernel_text

LOOP_CTL_ADD = 0x4C80
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_AUTOCLEAR = 4
# The kernel ignores it if the disk has no direct I/O, or only in blocks larger than BLOCK_SIZE.
LO_FLAGS_DIRECT_IO = 16
LOOP_MAJOR = 7
# Bytes, as QEMU's disks have and as partition tables count. With direct I/O the kernel's default
# is that of the disk below, perhaps 4 KiB (loop_default_blocksize() of Linux).
BLOCK_SIZE = 512
# GRUB's 10_linux takes a root file system on `/dev/loop[0-9]` for loop-AES and makes no menu entry
# for it. So we choose the number, not the kernel.
NUMBERS = range(10, 1024)
# Another program uses it, or has just detached it (lo_open() of Linux, Lo_rundown).
_TAKEN = (errno.EBUSY, errno.ENXIO)
DETACH_SECONDS = 10.0
# Bytes that a full file system may call free: ext4 keeps up to 16 MiB that nobody gets
# (ext4_calculate_resv_clusters() of Linux), XFS some KiB.
FULL_BELOW = 20 << 20

# struct loop_config of linux/loop.h: fd, block_size, then struct loop_info64 (device, inode,
# rdevice, offset, sizelimit; number, encrypt_type, encrypt_key_size, flags; file_name, crypt_name,
# encrypt_key; init[2]), then 8 reserved words.
LOOP_CONFIG = struct.Struct("=II QQQQQ IIII 64s 64s 32s QQ 64x")


@contextmanager
def attached(backing: Backing, offset: int = 0, size: int = 0) -> Iterator[Path]:
    """Attaches a loop device to `size` bytes of a disk from `offset` on (0: to the disk's end).

    It uses direct I/O on the disk, so that data is cached and flushed only once. It replaces the
    kernel's device of a partition: it works without partition support in the kernel and on logical
    volumes, and leaves nothing behind. At the end the device is flushed, and the kernel's
    detaching is waited for.

    Raises:
        KitError: no loop device is available, the flush failed, something still holds it, or the
            disk is a sparse file on a file system that is full at the end.
    """
    device, fd = _attach(backing, offset, size)
    with undone(lambda: _detach(device, fd, backing)):
        yield device


def _attach(backing: Backing, offset: int, size: int) -> tuple[Path, int]:
    config = LOOP_CONFIG.pack(
        *(backing.fd, BLOCK_SIZE),
        *(0, 0, 0, offset, size),
        *(0, 0, 0, LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO),
        *(str(backing.path).encode()[:63], b"", b""),
        *(0, 0),
    )
    for number in NUMBERS:
        device = Path(f"/dev/loop{number}")
        try:
            _add(device, number)
            fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, LOOP_CONFIGURE, config)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            if error.errno in _TAKEN:
                continue
            raise KitError(
                f"loop device {device} over {backing.path}: {error.strerror}",
                hint="loop devices need the kernel's loop driver (modprobe loop) and root",
            ) from error
        return device, fd
    raise KitError(
        f"loop device over {backing.path}: all of {NUMBERS.stop} are taken",
        hint="`losetup --list` lists them; detach those that are not needed",
    )


def _add(device: Path, number: int) -> None:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        with suppress(FileExistsError):
            fcntl.ioctl(control, LOOP_CTL_ADD, number)
    finally:
        os.close(control)
    if not device.exists():  # in a container without udev or devtmpfs
        os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(LOOP_MAJOR, number))


def _detach(device: Path, fd: int, backing: Backing) -> None:
    path = backing.path.resolve()
    try:
        os.fsync(fd)
    except OSError as error:
        raise KitError(
            f"flush of {path}: {error.strerror}", hint="see dmesg for errors of its device"
        ) from error
    finally:
        os.close(fd)
    _await_detached(device, path)
    _require_room(backing.fd, path)


def _require_room(fd: int, path: Path) -> None:
    """Raises KitError where a file may lack what was written to it, and nobody was told.

    Where the file system becomes full in the middle of a request, only its beginning is written:
    Linux 6.18 calls that a success, for any file system that writes through its page cache
    (lo_complete_rq()). All later requests that need room fail, but there may be none.
    """
    status, room = os.fstat(fd), os.fstatvfs(fd)
    # Blocks of 512 bytes (stat(2)). Without a limit, a tmpfs has no blocks.
    if status.st_blocks * 512 >= status.st_size or room.f_blocks == 0:
        return
    left = room.f_bfree * room.f_frsize
    if left < FULL_BELOW:
        raise KitError(
            f"flush of {path}: its file system is full ({text.size(left, floor)} are left): what"
            " was written last may be lost",
            hint=f"make room there, {text.size(FULL_BELOW, ceil)} more than the disk takes: see df",
        )


def _await_detached(device: Path, backing: Path) -> None:
    state = Path("/sys/block", device.name, "loop/backing_file")
    deadline = time.monotonic() + DETACH_SECONDS
    while state.exists():
        try:
            if Path(kernel_text(state).rstrip("\n")) != backing:
                return  # detached, and already attached to something else
        except OSError:
            return
        if time.monotonic() > deadline:
            raise KitError(
                f"loop device {device} over {backing}: something still holds it",
                hint=f"end the processes that `fuser -v -m {device}` lists",
            )
        time.sleep(0.02)
