"""Foreign images whose headers state another size than QEMU takes: no end of a disk is lost."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter import sources as opening
from tests.system.converter import source_support as sources
from tests.system.converter.support import MIB, noise
from tests.system.installer.support import output

SIZE = 20 * MIB  # of which the geometry 602/4/17 drops the last 4 KiB and more
GEOMETRY = (602, 4, 17)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk with data up to its last byte."""
    disk = tmp_path_factory.mktemp("disk") / "disk.raw"
    disk.write_bytes(noise(MIB, 1).ljust(SIZE - MIB, b"\0") + noise(MIB, 2))
    yield disk
    disk.unlink()


def mended(footer: bytes) -> bytes:
    """A VHD's footer with the checksum that it needs: the complement of the sum of its bytes."""
    without = footer[:64] + bytes(4) + footer[68:]
    return footer[:64] + struct.pack(">I", ~sum(without) & 0xFFFFFFFF) + footer[68:]


def vhd(disk: Path, path: Path, subformat: str, creator: bytes) -> Path:
    """A VHD as other programs write them: the geometry is rounded down."""
    options = f"subformat={subformat},force_size=on"
    output("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, disk, path)
    with path.open("r+b") as file:
        for place in (path.stat().st_size - 512, *((0,) if subformat == "dynamic" else ())):
            footer = bytearray(os.pread(file.fileno(), 512, place))
            footer[28:32] = creator
            struct.pack_into(">HBB", footer, 56, *GEOMETRY)
            os.pwrite(file.fileno(), mended(bytes(footer)), place)
    return path


@pytest.mark.parametrize("subformat", ["fixed", "dynamic"])
@pytest.mark.parametrize("creator", [b"vbox", b"win ", b"wa\0\0", b"vs  "])
def test_the_end_of_a_vhd_is_not_lost(
    subformat: str, creator: bytes, disk: Path, tmp_path: Path
) -> None:
    image = vhd(disk, tmp_path / "image", subformat, creator)
    told = sources.read(image, "vpc", tmp_path / "out")
    assert told.get("size") == SIZE, told
    assert sources.same(tmp_path / "out", disk)


@pytest.mark.parametrize("creator", [b"vpc ", b"qemu"])
def test_a_vhd_of_virtual_pc_ends_where_its_geometry_does(
    creator: bytes, disk: Path, tmp_path: Path
) -> None:
    told = sources.read(vhd(disk, tmp_path / "image", "fixed", creator), "vpc", tmp_path / "out")
    assert told.get("size") == 602 * 4 * 17 * 512 < SIZE, told


def test_a_vmdk_whose_descriptor_has_more_is_refused(disk: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    output("qemu-img", "convert", "-f", "raw", "-O", "vmdk", disk, image)
    sectors = SIZE // 512
    content = image.read_bytes()
    image.write_bytes(content.replace(b"RW %d SPARSE" % sectors, b"RW %d SPARSE" % (sectors + 1)))
    told = sources.read(image, "vmdk", tmp_path / "out")
    assert f"its disk has {SIZE + 512} bytes, but QEMU reads {SIZE}" in told.get("error", "")


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("vmdk", "subformat=monolithicSparse"),
        ("vmdk", "subformat=streamOptimized"),
        ("vdi", "static=off"),
        ("vhdx", "subformat=dynamic"),
        ("vpc", "subformat=dynamic"),
        ("vpc", "subformat=fixed"),
        ("vpc", "subformat=dynamic,force_size=on"),
        ("qed", "cluster_size=64k"),
        ("parallels", "cluster_size=1M"),
    ],
)
@pytest.mark.parametrize("size", [MIB, 10 * MIB + 4096, 3 * 1024 * MIB - 512])
def test_images_of_all_sizes_are_as_large_as_they_say(
    image_format: str, options: str, size: int, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    output("qemu-img", "create", "-q", "-f", image_format, "-o", options, image, str(size))
    with opening.open_source(str(image), image_format) as source:
        assert source.size >= size
