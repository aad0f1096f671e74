"""Magics where libblkid's samples have them (util-linux, tests/ts/blkid/images-fs)."""

import pytest

from converter.contents import partitions, swap_header
from converter.contents.magics import others
from converter.contents.superblocks import signatures
from converter.reading import Window
from node.errors import KitError

KIB = 1 << 10
MIB = 1 << 20
TUXONICE = bytes.fromhex("edc302e99856e50c")
# What the samples hold at these bytes; types as blkid prints them.
SAMPLES = {
    "apfs": (32, b"NXSB"),
    "bcache": (4120, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")),
    "bcachefs": (4120, bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")),
    "befs": (544, b"1SFB"),
    "BitLocker": (0, b"\xeb\x58\x90-FVE-FS-"),
    "ceph_bluestore": (0, b"bluestore block device"),
    "f2fs": (5120, bytes.fromhex("1020f5f2")),
    "gfs2": (65536, bytes.fromhex("01161970")),
    "hpfs": (8192, bytes.fromhex("49e895f9")),
    "jfs": (32768, b"JFS1"),
    "nss": (4096, b"SPB5"),
    "ocfs2": (8192, b"OCFSV2"),
    "reiser4": (65536, b"ReIsEr4"),
    "reiserfs": (65588, b"ReIsEr2Fs"),
    "scoutfs": (65540, bytes.fromhex("8b423c10")),
    "udf": (32769, b"NSR03"),
    "ufs": (8192 + 1372, bytes.fromhex("54190100")),
    "vdo": (0, b"dmvdo001"),
    "VMFS": (2 * MIB, bytes.fromhex("5ef1ab2f")),
    "VMFS_volume_member": (MIB, bytes.fromhex("0dd001c0")),
    "vxfs": (8192, bytes.fromhex("a501fcf5")),
    "zfs_member": (161 * KIB, bytes.fromhex("0cb1ba0000000000")),
    "table of Sun": (508, b"\xda\xbe"),
    "table of SGI": (0, bytes.fromhex("0be5a941")),
    "table of BSD": (512, bytes.fromhex("57455682")),
}


def swap_area(*pokes: tuple[int, bytes], size: int = 3 * MIB) -> bytes:
    """A swap area of pages of 4096 bytes, and what was put over it."""
    content = bytearray(size)
    content[1024:1036] = (
        (1).to_bytes(4, "little") + (size // 4096 - 1).to_bytes(4, "little") + bytes(4)
    )
    content[1036:1052] = b"\x11" * 16
    content[4086:4096] = b"SWAPSPACE2"
    for place, data in pokes:
        content[place : place + len(data)] = data
    return bytes(content)


def window(content: bytes) -> Window:
    return Window(lambda offset, length: content[offset : offset + length], 0, len(content))


def found(content: bytes) -> swap_header.Found:
    return swap_header.find_areas(window(content).read, len(content))


@pytest.mark.parametrize("name", SAMPLES)
def test_what_has_become_something_else_is_no_swap(name: str) -> None:
    """Its maker left the old signature: the content must not be dropped."""
    content = swap_area(SAMPLES[name])
    assert others(window(content)) == [name]
    assert found(content).areas == ()
    assert found(content).warnings == (
        f"whole disk: swap that is {name}, too; it is copied as it is",
    )


def test_plain_swap_is_nothing_else() -> None:
    assert others(window(swap_area())) == []
    (area,) = found(swap_area()).areas
    assert area.length == 3 * MIB


def test_a_raid_member_whose_content_is_swap() -> None:
    """Metadata 1.0 at the end, as mdadm writes it: data begin at 0, super_offset is at byte 144."""
    place = 3 * MIB - 8192
    block = bytearray(256)
    block[:8] = bytes.fromhex("fc4e2ba901000000")
    block[16:32] = b"\x22" * 16
    block[136:144] = (6000).to_bytes(8, "little")
    block[144:152] = (place // 512).to_bytes(8, "little")
    content = swap_area((place, bytes(block)))
    assert [one.type for one in signatures(window(content))] == ["linux_raid_member"]
    assert found(content).areas == ()


@pytest.mark.parametrize(
    "content",
    [
        swap_area((0, TUXONICE)),
        swap_area((0, TUXONICE), (1028, b"\xff\xff\x07\0")),  # as in libblkid's sample: longer
        swap_area((0, TUXONICE), (4086, bytes(10))),
        swap_area((0, TUXONICE), (1024, bytes(12))),
        swap_area((0, TUXONICE), SAMPLES["jfs"]),
    ],
    ids=["header", "long", "no signature", "no header", "something else, too"],
)
def test_tuxonice_is_at_the_beginning_of_an_area(content: bytes) -> None:
    (area,) = found(content).areas
    assert area.hibernated == "TuxOnIce"
    with pytest.raises(KitError, match=r"a hibernated system is in its swap .*TuxOnIce"):
        swap_header.require_awake([area], "a")


def test_tuxonice_in_a_partition() -> None:
    area = swap_area((0, TUXONICE))
    mbr = bytearray(MIB)
    mbr[450] = 0x82
    mbr[454:462] = (2048).to_bytes(4, "little") + (len(area) // 512).to_bytes(4, "little")
    mbr[510:512] = b"\x55\xaa"
    disk = bytes(mbr) + area
    assert partitions.table(window(disk).read, len(disk)) is not None
    assert [one.hibernated for one in found(disk).areas] == ["TuxOnIce"]
