"""Loop devices of the tests: the kernel detaches them, however the tests end."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.devices.loop import LO_FLAGS_AUTOCLEAR, LO_FLAGS_DIRECT_IO, LOOP_CONFIG, LOOP_CONFIGURE

LOOP_CTL_GET_FREE = 0x4C82  # loop(4)
DETACH_SECONDS = 10.0


@contextmanager
def loop(
    disk: Path,
    offset: int = 0,
    size: int = 0,
    *,
    read_only: bool = True,
    direct_io: bool = False,
    sector_size: int = 0,
) -> Iterator[Path]:
    """A loop device over a disk, or `size` bytes of it from `offset` on; 0: as losetup has it."""
    device, held = _attach(disk, offset, size, read_only, direct_io, sector_size)
    # What keeps it attached is a descriptor that no process has open, since it is under way from
    # one end of a pair of sockets to the other: the kit refuses devices that a process has open.
    here, there = socket.socketpair()
    with here, there:
        try:
            socket.send_fds(here, [b"loop"], [held])
        finally:
            os.close(held)
        yield device
    _await_detached(device, disk)


def _attach(
    disk: Path, offset: int, size: int, read_only: bool, direct_io: bool, sector_size: int
) -> tuple[Path, int]:
    mode = os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR)
    backing = os.open(disk, mode)
    try:
        flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_DIRECT_IO if direct_io else 0)
        config = LOOP_CONFIG.pack(
            *(backing, sector_size),
            *(0, 0, 0, offset, size),
            *(0, 0, 0, flags),
            *(os.fsencode(disk)[:63], b"", b""),
            *(0, 0),
        )
        while True:
            with Path("/dev/loop-control").open("rb") as control:
                device = Path(f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}")
            descriptor = os.open(device, mode)
            try:
                fcntl.ioctl(descriptor, LOOP_CONFIGURE, config)
                return device, os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.EBUSY:  # somebody was faster
                    raise
            finally:
                os.close(descriptor)
    finally:
        os.close(backing)


def _await_detached(device: Path, disk: Path) -> None:
    state = Path("/sys/block", device.name, "loop/backing_file")
    deadline = time.monotonic() + DETACH_SECONDS
    while True:
        try:
            if state.read_text().rstrip("\n") != str(disk.absolute()):
                return
        except OSError:
            return
        assert time.monotonic() < deadline, f"something holds {device} over {disk}"
        time.sleep(0.02)
