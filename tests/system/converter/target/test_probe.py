"""Probing disks: a disk counts as empty only if that is certain."""

from pathlib import Path

import pytest

from converter.target.probe import probe
from tests.system.converter.nbd_device import served
from tests.system.installer.support import MIB, output

pytestmark = pytest.mark.trixie

SIZE = 16 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def test_a_blank_disk_holds_nothing(disk: Path) -> None:
    found = probe(disk)
    assert (found.fields, found.unclear) == ({}, "")


def test_a_file_system_is_told_with_its_fields(disk: Path) -> None:
    output("mkfs.ext4", "-q", "-L", "data", disk)
    found = probe(disk)
    assert (found.fields["TYPE"], found.fields["LABEL"], found.unclear) == ("ext4", "data", "")


def test_a_damaged_superblock_is_not_nothing(disk: Path) -> None:
    output("mkfs.ext4", "-q", disk)
    with disk.open("r+b") as file:
        file.seek(1024 + 0x78)  # s_volume_name: its checksum is wrong now
        file.write(b"x")
    found = probe(disk)
    assert found.fields.get("TYPE", found.unclear).endswith("ext4")


@pytest.mark.parametrize("broken_from", [0, 64 * 1024, SIZE - 4096])
def test_what_cannot_be_read_is_not_nothing(broken_from: int, tmp_path: Path) -> None:
    pread = (
        f"[ $(($3 + $4)) -le {broken_from} ] || {{ echo EIO >&2; exit 1; }}; head -c $3 /dev/zero"
    )
    size = f"get_size=echo {SIZE}"
    with served(tmp_path, "eval", size, f"pread={pread}", read_only=True) as device:
        found = probe(device.path)
    assert (found.fields, found.unclear) == ({}, "data that cannot be read (Input/output error)")


def test_a_path_that_leads_nowhere_is_not_nothing(tmp_path: Path) -> None:
    assert (
        probe(tmp_path / "gone").unclear == "data that cannot be read (No such file or directory)"
    )
