"""What the headers of foreign images say of their disks' sizes."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.formats import foreign
from converter.formats.disksize import Stated, stated, whole_sectors
from converter.formats.foreign import ForeignError

MIB = 1 << 20
BY_FOOTER, BY_GEOMETRY = {"force_size_calc": "current_size"}, {"force_size_calc": "chs"}


def of(image_format: str, image: bytes) -> Stated:
    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(image)
        return image[offset : offset + length]

    return stated(image_format, read, len(image))


def footer(
    size: int = MIB,
    creator: bytes = b"vbox",
    geometry: tuple[int, int, int] = (30, 4, 17),  # 2040 sectors
) -> bytes:
    made = struct.pack(">8s20x4s4x4xQQHBBI", b"conectix", creator, size, size, *geometry, 2)
    return made.ljust(512, b"\0")


@pytest.mark.parametrize("creator", [b"vbox", b"win ", b"vs  ", b"wa\0\0", b"tap\0", bytes(4)])
@pytest.mark.parametrize("geometry", [(30, 4, 17), (0, 0, 0), (31, 4, 17), (65535, 16, 255)])
def test_a_vhds_size_is_its_footers(creator: bytes, geometry: tuple[int, int, int]) -> None:
    image = bytes(MIB) + footer(MIB, creator, geometry)
    assert of("vpc", image) == Stated(MIB, BY_FOOTER)


@pytest.mark.parametrize("creator", [b"vpc ", b"qemu"])
def test_a_vhd_of_virtual_pc_or_an_old_qemu_is_as_large_as_its_geometry(creator: bytes) -> None:
    assert of("vpc", bytes(MIB) + footer(MIB, creator)) == Stated(2040 * 512, BY_GEOMETRY)
    # No geometry, and the one that stands for whatever is larger.
    assert of("vpc", bytes(MIB) + footer(MIB, creator, (0, 0, 0))) == Stated(MIB, BY_FOOTER)
    largest = footer(MIB, creator, (65535, 16, 255))
    assert of("vpc", bytes(MIB) + largest) == Stated(MIB, BY_FOOTER)


def test_a_fixed_vhd_must_have_its_disk() -> None:
    with pytest.raises(ForeignError, match="its disk has 1048576 bytes, but the file only 1048064"):
        of("vpc", bytes(MIB - 512) + footer(MIB))
    assert of("vpc", bytes(MIB + 512) + footer(MIB)).size == MIB


def test_the_two_footers_of_a_dynamic_vhd_must_agree() -> None:
    assert of("vpc", footer(9 * MIB) + bytes(4096) + footer(9 * MIB)).size == 9 * MIB
    assert of("vpc", footer(9 * MIB) + bytes(4096)).size == 9 * MIB
    with pytest.raises(ForeignError, match=r"different sizes: \[8388608, 9437184\] bytes"):
        of("vpc", footer(8 * MIB) + bytes(4096) + footer(9 * MIB))


def vmdk(capacity: int, descriptor: str, directory: int = 1, at_end: int | None = None) -> bytes:
    def header(capacity: int, directory: int) -> bytes:
        made = struct.pack("<4sIIQQQQIQQ", b"KDMV", 3, 3, capacity, 8, 1, 2, 512, 0, directory)
        return made.ljust(512, b"\0")

    image = header(capacity, directory) + descriptor.encode().ljust(1024, b"\0")
    if at_end is not None:
        image += header(at_end, 1) + bytes(512)
    return image


@pytest.mark.parametrize(("extent", "sectors"), [(2048, 2048), (2041, 2048), (2056, 2056)])
def test_a_vmdks_size_is_the_largest_that_it_states(extent: int, sectors: int) -> None:
    image = vmdk(2048, f'# Disk DescriptorFile\n RW {extent} SPARSE "a.vmdk"\n')
    assert of("vmdk", image) == Stated(sectors * 512)


def test_a_vmdks_footer_counts() -> None:
    for header, at_end in ((2048, 4096), (4096, 2048)):
        image = vmdk(header, 'RW 512 SPARSE "a"', 2**64 - 1, at_end)
        assert of("vmdk", image) == Stated(4096 * 512)


@pytest.mark.parametrize("size", [MIB, MIB + 1])
def test_a_vdis(size: int) -> None:
    assert of("vdi", bytes(0x170) + struct.pack("<Q", size) + bytes(512)) == Stated(size)
    assert whole_sectors(size) == (MIB if size == MIB else MIB + 512)


def test_a_qeds() -> None:
    assert of("qed", bytes(48) + struct.pack("<Q", MIB)) == Stated(MIB)


@pytest.mark.parametrize(
    ("magic", "sectors"),
    [(b"WithoutFreeSpace", 2048), (b"WithouFreSpacExt", 2048 + (1 << 32))],
)
def test_a_parallels_disks(magic: bytes, sectors: int) -> None:
    image = magic + bytes(20) + struct.pack("<Q", 2048 + (1 << 32)) + bytes(20)
    assert of("parallels", image) == Stated(sectors * 512)


def vhdx(*sizes: int) -> bytes:
    """Two region tables, each with its own metadata."""
    image = bytearray(1 * MIB)
    for number, size in enumerate(sizes):
        region, metadata = (192 + 64 * number) << 10, (320 + 192 * number) << 10
        image[region + 16 : region + 40] = bytes.fromhex(
            "06a27c8b90479a4bb8fe575f050f886e"
        ) + struct.pack("<Q", metadata)
        image[metadata + 32 : metadata + 52] = bytes.fromhex(
            "2442a52f1bcd7648b2115dbed83bf4b8"
        ) + struct.pack("<I", 65536)
        image[metadata + 65536 : metadata + 65544] = struct.pack("<Q", size)
    return bytes(image)


def test_a_vhdxs() -> None:
    assert of("vhdx", vhdx(7 * MIB, 7 * MIB)) == Stated(7 * MIB)
    with pytest.raises(ForeignError, match="different sizes"):
        of("vhdx", vhdx(7 * MIB, 8 * MIB))


@settings(derandomize=True, max_examples=500, deadline=None)
@given(
    image_format=st.sampled_from(foreign.NAMES),
    start=st.sampled_from([b"KDMV", b"conectix", b"WithoutFreeSpace", b""]),
    rest=st.binary(max_size=2000),
    end=st.sampled_from([b"", footer(), footer(2**64 - 1, b"vpc ", (65535, 255, 255))]),
)
def test_whatever_stands_there_is_read_within_the_file(
    image_format: str, start: bytes, rest: bytes, end: bytes
) -> None:
    with suppress(ForeignError):
        assert of(image_format, start + rest + end).size >= 0


@settings(derandomize=True, max_examples=300, deadline=None)
@given(data=st.data())
def test_spoilt_places_of_a_vhdx_are_read_within_the_file(data: st.DataObject) -> None:
    image = bytearray(vhdx(MIB, MIB))
    for region in (192 << 10, 320 << 10):
        at = region + data.draw(st.integers(32, 52))
        image[at] = data.draw(st.integers(0, 255))
    with suppress(ForeignError):
        of("vhdx", bytes(image))
