"""Loop devices over a disk and over parts of it."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.devices.claim import claimed
from node.devices.loop import attached
from node.errors import KitError
from tests.system.installer.support import output
from tests.system.loops import loop

MIB = 1 << 20


@pytest.mark.quick
def test_a_loop_device_over_a_part_passes_by_the_page_cache(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(8 * MIB)
    with claimed(disk) as backing, attached(backing, 2 * MIB, 4 * MIB) as device:
        assert Path("/sys/block", device.name, "loop/dio").read_text() == "1\n"
        assert Path("/sys/block", device.name, "queue/logical_block_size").read_text() == "512\n"
        assert Path("/sys/block", device.name, "size").read_text() == f"{4 * MIB // 512}\n"
        device.write_bytes(b"x" * MIB)
    assert disk.read_bytes() == bytes(2 * MIB) + b"x" * MIB + bytes(5 * MIB)


def test_over_a_disk_with_sectors_of_4_kib_partition_tables_still_count_in_512(
    tmp_path: Path,
) -> None:
    """Direct I/O cannot do that: the page cache serves."""
    file = tmp_path / "disk"
    with file.open("wb") as made:
        made.truncate(MIB)
    with (
        loop(file, read_only=False, sector_size=4096) as disk,
        claimed(disk) as backing,
        attached(backing) as device,
    ):
        assert Path("/sys/block", disk.name, "queue/logical_block_size").read_text() == "4096\n"
        assert Path("/sys/block", device.name, "queue/logical_block_size").read_text() == "512\n"
        assert Path("/sys/block", device.name, "loop/dio").read_text() == "0\n"
        with device.open("r+b", buffering=0) as written:
            written.seek(512)
            written.write(b"x" * 512)
    assert file.read_bytes() == bytes(512) + b"x" * 512 + bytes(MIB - 1024)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system that has 64 KiB left."""
    place = tmp_path / "full"
    place.mkdir()
    output("mount", "-t", "tmpfs", "-o", "size=1m", "none", place)
    (place / "filler").write_bytes(bytes(MIB - 64 * 1024))
    yield place
    output("umount", place)


def write_in_one_request(device: Path, size: int) -> None:
    with mmap.mmap(-1, size) as aligned:
        aligned.write(b"x" * size)
        fd = os.open(device, os.O_RDWR | os.O_DIRECT)
        try:
            os.pwrite(fd, aligned, 0)
        finally:
            os.close(fd)


def test_what_a_full_file_system_did_not_take_is_not_called_written(full: Path) -> None:
    disk = full / "disk"
    disk.touch()
    os.truncate(disk, MIB)
    # Where the kernel tells of it, the write itself fails.
    with (
        pytest.raises((KitError, OSError), match=r"is full|No space left|Input/output error"),
        claimed(disk) as backing,
        attached(backing) as device,
    ):
        write_in_one_request(device, 128 * 1024)


def test_a_file_that_has_all_its_blocks_is_written_on_a_full_file_system(full: Path) -> None:
    disk = full / "disk"
    disk.write_bytes(bytes(64 * 1024))
    assert os.statvfs(full).f_bfree == 0
    with claimed(disk) as backing, attached(backing) as device:
        write_in_one_request(device, 64 * 1024)
    assert disk.read_bytes() == b"x" * 64 * 1024
