"""Disks of each partition style and file system are exported, imported, and compared."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from backup.streams import stream
from backup.streams.stream import FRAME_SIZE
from tests.system.backup import support
from tests.system.backup.support import MIB, Script, exported, imported, made, noise
from tests.system.installer.support import loop, output

SIZES = {"ext4": 192 * MIB, "xfs": 320 * MIB, "btrfs": 160 * MIB, "swap": 64 * MIB}


@pytest.mark.parametrize(
    ("style", "filesystem"),
    [
        ("msdos", "ext4"),
        pytest.param("gpt", "ext4", marks=[pytest.mark.quick, pytest.mark.trixie]),
        ("none", "ext4"),
        ("gpt", "xfs"),
        ("none", "btrfs"),
        ("none", "swap"),
    ],
)
def test_what_is_imported_is_what_was_exported(style: str, filesystem: str, tmp_path: Path) -> None:
    size = SIZES[filesystem]
    disk = made(tmp_path / "disk", style, filesystem, size)
    dump, restored = tmp_path / "dump", noise(tmp_path / "restored", size)
    with loop(disk.path) as device:
        exported(device, dump).done()
    with loop(restored, read_only=False) as device:
        imported(device, dump).done()
    support.require_restored(disk, restored)

    # Somebody with nothing but zstd gets the same.
    with subprocess.Popen(["zstd", "-dc", dump], stdout=subprocess.PIPE) as zstd:
        output_of_cmp = subprocess.run(["cmp", "-", restored], stdin=zstd.stdout, check=False)
    assert output_of_cmp.returncode == 0 and zstd.returncode == 0

    if filesystem == "swap":
        with loop(restored) as device:
            assert "LABEL=swap1" in support.found_on(device)
        return
    assert support.manifest(disk, restored) == support.manifest(disk, disk.path)
    if filesystem == "ext4":
        with loop(restored, disk.start, disk.length) as device:
            output("e2fsck", "-fn", device)


def test_a_file_is_exported_without_its_holes_and_with_its_expected_size(tmp_path: Path) -> None:
    disk = made(tmp_path / "disk", "msdos", "ext4", 192 * MIB)
    with disk.path.open("r+b") as file:
        file.truncate(40 << 30)
    told, size_fd = os.pipe()
    with (tmp_path / "dump").open("wb") as file:
        script = Script("export", disk.path, stdout=file, size_fd=size_fd)
        os.close(size_fd)
        script.wait().done()
    size = (tmp_path / "dump").stat().st_size
    said = os.read(told, 100)
    os.close(told)
    assert said.endswith(b"\n")
    assert size * 0.8 < int(said) < size * 1.3
    restored = tmp_path / "restored"
    with restored.open("wb") as file:
        file.truncate(40 << 30)
    imported(restored, tmp_path / "dump").done()
    assert restored.stat().st_blocks * 512 < 100 * MIB
    assert support.manifest(disk, restored) == support.manifest(disk, disk.path)


def header_of(dump: Path) -> dict[str, object]:
    with dump.open("rb") as file:
        head = file.read(1 << 16)
    found: dict[str, object] = json.loads(head[8:].partition(b"\n")[0])
    return found


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> support.Disk:
    """A GPT disk whose last 60 MiB are in no partition."""
    path = tmp_path_factory.mktemp("gpt") / "disk"
    return made(path, "gpt", "ext4", 160 * MIB, behind=60 * MIB)


@pytest.fixture(scope="module")
def dump(gpt: support.Disk) -> Path:
    path = gpt.path.with_name("dump")
    with loop(gpt.path) as device:
        exported(device, path).done()
    return path


def test_the_header_says_what_is_on_the_disk(gpt: support.Disk, dump: Path) -> None:
    found = stream.decode_header(dump.read_bytes()[8:].partition(b"\n")[0])
    assert found.disk_size == 160 * MIB
    assert (found.instance, found.disk) == (support.INSTANCE, {"index": 0})
    assert found.partition_table == "gpt"
    assert [(area.partition, area.type) for area in found.areas] == [(1, "unknown"), (2, "ext4")]
    assert found.areas[1].start == gpt.start
    assert found.areas[1].used is not None and 20 * MIB < found.areas[1].used < gpt.length
    assert found.left_out["free"] > 40 * MIB
    assert gpt.start + gpt.length < found.smallest < 101 * MIB
    assert found.frames * FRAME_SIZE == 160 * MIB


@pytest.mark.parametrize("size", [160 * MIB + 4096, 160 * MIB + 512 * 1001, 300 * MIB])
def test_a_gpt_fits_a_larger_disk(gpt: support.Disk, dump: Path, size: int, tmp_path: Path) -> None:
    require_gpt(gpt, dump, size, tmp_path)
    with (tmp_path / "restored").open("rb") as file:
        file.seek(gpt.start + gpt.length)
        behind = file.read()
    assert not any(behind[: -33 * 512])


def test_a_gpt_fits_the_smallest_disk(gpt: support.Disk, dump: Path, tmp_path: Path) -> None:
    smallest = stream.decode_header(dump.read_bytes()[8:].partition(b"\n")[0]).smallest
    require_gpt(gpt, dump, smallest, tmp_path)


def require_gpt(gpt: support.Disk, dump: Path, size: int, tmp_path: Path) -> None:
    restored = noise(tmp_path / "restored", size)
    with loop(restored, read_only=False) as device:
        imported(device, dump).done()
        assert "No errors detected" in output("sfdisk", "--verify", device)
    assert "No problems found" in output("sgdisk", "--verify", restored)
    assert support.manifest(gpt, restored) == support.manifest(gpt, gpt.path)


@pytest.mark.parametrize("piece", [1000, 50_001, 1 << 20])
def test_a_stream_may_come_in_pieces_of_any_size(
    piece: int, gpt: support.Disk, dump: Path, tmp_path: Path
) -> None:
    restored = noise(tmp_path / "restored", 160 * MIB)
    imported(restored, dump, piece=piece).done()
    support.require_restored(gpt, restored)


def test_a_journal_that_is_to_be_replayed_keeps_all_blocks(tmp_path: Path) -> None:
    """As on the snapshot of a running instance."""
    disk = made(tmp_path / "disk", "none", "ext4", 96 * MIB)
    with disk.path.open("r+b") as file:
        file.seek(1024 + 0x60)
        flags = int.from_bytes(file.read(4), "little")
        file.seek(1024 + 0x60)
        file.write((flags | 4).to_bytes(4, "little"))
    outcome = exported(disk.path, tmp_path / "dump").done()
    assert "all blocks of its file system are kept" in outcome.stderr
    restored = noise(tmp_path / "restored", 96 * MIB)
    imported(restored, tmp_path / "dump").done()
    output("cmp", disk.path, restored)


def test_a_raw_stream_is_restored_if_it_is_whole(gpt: support.Disk, tmp_path: Path) -> None:
    restored = noise(tmp_path / "restored", 200 * MIB)
    imported(restored, gpt.path).done()
    output("cmp", "--bytes", str(160 * MIB), gpt.path, restored)
    with restored.open("rb") as file:
        file.seek(160 * MIB)
        assert not any(file.read())
    cut = gpt.path.read_bytes()[: 159 * MIB]
    imported(restored, cut).failed("ends after", str(159 * MIB))
    assert support.found_on(restored) == ""
