"""Loop devices over a disk and over parts of it."""

from pathlib import Path

import pytest

from node.devices.claim import claimed
from node.devices.loop import attached
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
