"""Images with something behind them: files that a tool made longer, and larger block devices."""

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.converter import source_support as sources
from tests.system.converter.support import MIB, loop, noise, output, prose

SIZE = 9 * MIB
KINDS = {
    "qcow2": ("qcow2", ""),
    "vmdk": ("vmdk", ""),
    "vmdk-footer": ("vmdk", "subformat=streamOptimized"),
    "vdi": ("vdi", ""),
    "vhdx": ("vhdx", ""),
    "vhdx-fixed": ("vhdx", "subformat=fixed"),
    "vpc": ("vpc", "force_size=on"),
    "vpc-fixed": ("vpc", "subformat=fixed,force_size=on"),
    "qed": ("qed", ""),
    "parallels": ("parallels", ""),
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk with data up to its last byte."""
    directory = tmp_path_factory.mktemp("disk")
    disk = directory / "disk.raw"
    disk.write_bytes(prose(MIB, 1).ljust(SIZE - MIB, b"\0") + noise(MIB, 2))
    yield disk
    shutil.rmtree(directory)


def described_at_the_end(path: Path) -> None:
    """As VMware streams them: the header says that a footer has the directory's place."""
    with path.open("r+b") as file:
        header = bytearray(os.pread(file.fileno(), 512, 0))
        footer = bytes(header)
        struct.pack_into("<Q", header, 56, 2**64 - 1)
        os.pwrite(file.fileno(), header, 0)
        end = path.stat().st_size + -path.stat().st_size % 512
        marker = struct.pack("<QII", 1, 0, 3).ljust(512, b"\0")
        os.pwrite(file.fileno(), marker + footer + bytes(512), end)


def make(disk: Path, kind: str, path: Path) -> str:
    image_format, options = KINDS[kind]
    extra = ["-o", options] if options else []
    output("qemu-img", "convert", "-f", "raw", "-O", image_format, *extra, disk, path)
    if kind == "vmdk-footer":
        described_at_the_end(path)
    return image_format


@pytest.mark.parametrize("more", [512, MIB + 513])
@pytest.mark.parametrize("kind", ["vmdk-footer", "vhdx", "vpc", "vpc-fixed", "qed", "parallels"])
def test_bytes_behind_an_image_are_of_no_meaning(
    kind: str, more: int, disk: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image_format = make(disk, kind, image)
    with image.open("ab") as file:
        file.write(noise(more, 3))
    told = sources.read(image, image_format, tmp_path / "out")
    assert told.get("size") == SIZE, told
    assert sources.same(tmp_path / "out", disk)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_on_a_larger_block_device(kind: str, disk: Path, tmp_path: Path) -> None:
    """It was written over an old tenant's bytes, as dd would."""
    image = tmp_path / "image"
    image_format = make(disk, kind, image)
    volume = tmp_path / "volume"
    volume.write_bytes(noise(image.stat().st_size + 3 * MIB + 512, 4))
    with volume.open("r+b") as file:
        file.write(image.read_bytes())
    with loop(volume) as device:
        told = sources.read(device, image_format, tmp_path / "out")
    assert told.get("size") == SIZE, told
    assert sources.same(tmp_path / "out", disk)


def test_a_dynamic_vhd_without_its_footer_is_refused(disk: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    make(disk, "vpc", image)
    end = image.stat().st_size - 512
    with image.open("r+b") as file:
        os.pwrite(file.fileno(), noise(MIB, 3), end)
    told = sources.read(image, "vpc", tmp_path / "out")
    assert "no footer behind its last block" in told.get("error", ""), told
