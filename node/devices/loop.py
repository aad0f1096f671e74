"""Loop devices that the kernel detaches by itself when their last user is gone (loop(4))."""

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from node.cleanup import undone
from node.devices.claim import Backing
from node.errors import KitError
from node.files import kernel_text

LOOP_CTL_ADD = 0x4C80
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_AUTOCLEAR = 4
# The kernel leaves it out where the disk cannot, or only in blocks of more than BLOCK_SIZE.
LO_FLAGS_DIRECT_IO = 16
LOOP_MAJOR = 7
# That of QEMU's disks, in which partition tables count. With direct I/O the kernel would choose
# that of the disk below, which may have 4 KiB (loop_default_blocksize() of Linux).
BLOCK_SIZE = 512
# Below 10, GRUB's 10_linux takes a root on the device for loop-AES, and leaves it out of the menu
# (`/dev/loop[0-9]` in its script). So the first number is not the kernel's choice.
NUMBERS = range(10, 1024)
DETACH_SECONDS = 10.0

# struct loop_config of linux/loop.h: fd, block_size, then struct loop_info64 (device, inode,
# rdevice, offset, sizelimit; number, encrypt_type, encrypt_key_size, flags; file_name, crypt_name,
# encrypt_key; init[2]), then 8 reserved words.
LOOP_CONFIG = struct.Struct("=II QQQQQ IIII 64s 64s 32s QQ 64x")


@contextmanager
def attached(backing: Backing, offset: int = 0, size: int = 0) -> Iterator[Path]:
    """A loop device over `size` bytes of a disk from `offset` on (0: to its end).

    It passes by the page cache of the disk, so that what is written is cached, and flushed, once.
    This stands in for a partition's own device: it works on kernels without partition tables and
    on logical volumes, and leaves nothing behind. At the end the device is flushed, and awaited
    until the kernel has let go of it.

    Raises:
        KitError: no loop device is to be had, the flush failed, or something still holds it.
    """
    device, fd = _attach(backing, offset, size)
    with undone(lambda: _detach(device, fd, backing.path.resolve())):
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
            if error.errno == errno.EBUSY:  # somebody else's
                continue
            raise KitError(
                f"loop device {device} over {backing.path}: {error.strerror}",
                hint="loop devices need the kernel's loop driver (modprobe loop) and root",
            ) from error
        return device, fd
    raise KitError(
        f"loop device over {backing.path}: all of {NUMBERS.stop} are taken",
        hint="`losetup --list` names them; detach what nobody needs",
    )


def _add(device: Path, number: int) -> None:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        with suppress(FileExistsError):
            fcntl.ioctl(control, LOOP_CTL_ADD, number)
    finally:
        os.close(control)
    if not device.exists():  # a /dev that nobody fills, in a container
        os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(LOOP_MAJOR, number))


def _detach(device: Path, fd: int, backing: Path) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise KitError(
            f"flush of {backing}: {error.strerror}", hint="dmesg tells what became of its device"
        ) from error
    finally:
        os.close(fd)
    _await_detached(device, backing)


def _await_detached(device: Path, backing: Path) -> None:
    state = Path("/sys/block", device.name, "loop/backing_file")
    deadline = time.monotonic() + DETACH_SECONDS
    while state.exists():
        try:
            if Path(kernel_text(state).rstrip("\n")) != backing:
                return  # detached, and taken by another already
        except OSError:
            return
        if time.monotonic() > deadline:
            raise KitError(
                f"loop device {device} over {backing}: something still holds it",
                hint=f"see what `fuser -v -m {device}` names, and end it",
            )
        time.sleep(0.02)
