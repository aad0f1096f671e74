import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.contents.swap_header import HIBERNATED, PAGE_SIZES, require_awake
from converter.errors import HibernatedSwap
from tests.unit.converter.swap_pages import GOLDEN, LABEL, MIB, UUID_, disk, look, only, page
from tests.unit.converter.tables import gpt, mbr


def kept(content: bytes | bytearray) -> str:
    """Why there is swap, but none to make anew."""
    found = look(content)
    assert found.areas == ()
    (warning,) = found.warnings
    return warning


@pytest.mark.parametrize(("size", "order"), GOLDEN)
def test_a_whole_disk_of_any_page_size_and_byte_order(size: int, order: str) -> None:
    area = only(disk(page(size, order)))
    assert (area.start, area.length) == (0, MIB)
    assert (area.page_size, area.byteorder, area.version) == (size, order, 1)
    assert (area.uuid, area.label, area.boot, area.hibernated) == (UUID_, LABEL, b"", None)


def test_an_area_in_a_partition_is_what_its_header_says_whatever_the_partitions_type() -> None:
    content = bytearray(4 * MIB)
    mbr(content, [(0x83, 64, 2100), (0x82, 3000, 4000), (0x05, 7000, 1000)])
    content[64 * 512 : 64 * 512 + 4096] = page()
    mbr(content, [(0x07, 1, 400)], at=7000)
    content[7001 * 512 : 7001 * 512 + 4096] = page(last=49)
    found = look(content)
    assert [(area.start, area.length) for area in found.areas] == [
        (64 * 512, MIB),
        (7001 * 512, 50 * 4096),
    ]
    assert found.warnings == ()


def test_an_area_in_a_gpt_partition() -> None:
    content = bytearray(4 * MIB)
    gpt(content, [(2048, 4095)])
    content[MIB : MIB + 4096] = page()
    assert (only(content).start, only(content).length) == (MIB, MIB)


def test_swap_in_overlapping_partitions_is_left_alone() -> None:
    content = bytearray(4 * MIB)
    mbr(content, [(0x83, 64, 2100), (0x82, 64, 2048)])
    content[64 * 512 : 64 * 512 + 4096] = page()
    assert look(content).areas == ()
    assert len(look(content).warnings) == 2


def test_swap_under_a_partition_table_is_left_alone() -> None:
    content = disk(page())
    mbr(content, [(0x83, 64, 100)])
    assert "partition table" in kept(content)


def test_boot_code_is_kept() -> None:
    content = disk(page())
    content[:3] = b"LIL"
    content[510:512] = b"\x55\xaa"
    assert only(content).boot == bytes(content[:1024])


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (page(magic=b"SWAP-SPACE"), "version 0"),
        (page(last=8), "of 36864 bytes"),
        (page(last=256), "in a place of 1048576 bytes"),
        (page(last=0xFFFFFFFF), "in a place of"),
        (page(bad=3), "3 bad pages"),
        (page()[:1024] + b"\x02" + page()[1025:], "unknown version"),
        (page() + bytes(4086) + b"SWAPSPACE2", "several page sizes"),
    ],
)
def test_what_cannot_be_made_anew_is_copied(first: bytes, why: str) -> None:
    warning = kept(disk(first))
    assert why in warning
    assert warning.startswith("whole disk: swap ")
    assert warning.endswith("; it is copied as it is")


@pytest.mark.parametrize(
    ("name", "offset", "signature"),
    [
        ("ext2", 1024 + 56, b"\x53\xef"),
        ("xfs", 0, b"XFSB"),
        ("btrfs", (64 << 10) + 64, b"_BHRfS_M"),
        ("LVM2_member", 512, b"LABELONE".ljust(24, b"\0") + b"LVM2 001"),
        ("crypto_LUKS", 0, b"LUKS\xba\xbe\0\x02"),
        ("ntfs", 3, b"NTFS    "),
        ("iso9660", 32 << 10, b"\x01CD001"),
        ("linux_raid_member", MIB - 0x10000, struct.pack("<II", 0xA92B4EFC, 0)),
    ],
)
def test_what_is_a_file_system_too_is_copied(name: str, offset: int, signature: bytes) -> None:
    content = disk(page())
    content[offset : offset + len(signature)] = signature
    assert f"that is {name}, too" in kept(content)


@pytest.mark.parametrize("size", PAGE_SIZES)
@pytest.mark.parametrize(("magic", "name"), HIBERNATED.items())
def test_a_hibernated_system_is_seen(size: int, magic: bytes, name: str) -> None:
    area = only(disk(page(size, magic=magic)))
    assert area.hibernated == name
    with pytest.raises(HibernatedSwap, match=rf"^source a\.qcow2: .* at byte 0 \({name}\)$"):
        require_awake([area], "a.qcow2")


def test_a_hibernated_system_is_seen_whatever_its_header_says() -> None:
    first = bytearray(page(magic=b"S1SUSPEND"))
    first[1024:1036] = b"?" * 12
    assert only(disk(first)).hibernated == "S1SUSPEND"


def test_swap_that_is_awake_may_be_made_anew() -> None:
    require_awake([only(disk(page()))], "a.qcow2")


def test_a_disk_larger_than_its_swap_is_told() -> None:
    found = look(disk(page(), 2 * MIB))
    assert found.areas[0].length == 2 * MIB
    assert found.warnings == (
        "whole disk: swap of 1048576 bytes on a disk of 2097152 bytes; "
        "it is made anew over all of it",
    )


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.sampled_from(list(GOLDEN)),
    st.lists(st.tuples(st.integers(0, 66000), st.integers(0, 255)), max_size=12),
    st.integers(0, 1 << 17),
)
def test_no_bytes_make_it_fail_and_areas_are_inside(
    which: tuple[int, str], pokes: list[tuple[int, int]], size: int
) -> None:
    content = disk(page(*which))
    for place, value in pokes:
        content[place] = value
    found = look(content[:size])
    assert all(0 <= area.start < area.start + area.length <= size for area in found.areas)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=8192))
def test_random_bytes_are_no_swap(content: bytes) -> None:
    assert look(content).areas == ()
