"""Mounts that are moved by descriptors, and a FUSE file system that is ended."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node import mount_fds, syscalls


@contextmanager
def mounted(source: str, place: Path, options: str = "") -> Iterator[None]:
    place.mkdir()
    syscalls.mount(source, place, source, 0, options)
    try:
        yield
    finally:
        syscalls.umount(place)


def test_a_mount_goes_through_a_descriptor(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with mounted("tmpfs", tmp_path / "place"):
        (tmp_path / "place/file").touch()
        descriptor = mount_fds.detached_copy(tmp_path / "place")
    mount_fds.attach(descriptor, other)
    os.close(descriptor)
    try:
        assert [path.name for path in other.iterdir()] == ["file"]
    finally:
        syscalls.umount(other)


def test_a_fuse_file_system_is_ended_but_no_later_one(tmp_path: Path) -> None:
    def server() -> int:
        return os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)

    def options(fuse: int) -> str:
        return f"fd={fuse},rootmode=40000,user_id=0,group_id=0"

    def device(place: Path) -> str:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        (found,) = [line.split()[2] for line in lines if line.split()[4] == str(place)]
        return found

    def request(fuse: int) -> int | None:
        try:
            os.read(fuse, 1 << 20)
        except OSError as error:
            return error.errno
        return None

    place = tmp_path / "place"
    first = server()
    with mounted("fuse", place, options(first)):
        abort = mount_fds.fuse_abort(device(place))
        assert request(first) is None  # FUSE_INIT
        os.write(abort, b"1")
        assert request(first) == errno.ENODEV
    os.close(first)
    place.rmdir()
    second = server()
    with mounted("fuse", place, options(second)):  # it may have the number of the first one
        os.write(abort, b"1")
        assert request(second) is None
    os.close(abort)
    os.close(second)
