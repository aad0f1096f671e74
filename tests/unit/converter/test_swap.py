import os
import struct
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter import swap
from converter.extents import Kind
from converter.swap import PAGE_SIZES, SwapArea, find_areas, overlays, require_awake
from node.errors import KitError
from tests.unit.converter.tables import gpt, mbr, reader

MIB = 1 << 20
UUID_ = UUID("11111111-2222-3333-4444-555555555555")
LABEL = b"my swap".ljust(16, b"\0")

# What mkswap 2.38 makes of 1 MiB, from byte 1024 on; the big-endian ones with turned words.
GOLDEN = {
    (4096, "little"): "01000000 ff000000 00000000",
    (8192, "little"): "01000000 7f000000 00000000",
    (16384, "little"): "01000000 3f000000 00000000",
    (32768, "little"): "01000000 1f000000 00000000",
    (65536, "little"): "01000000 0f000000 00000000",
    (4096, "big"): "00000001 000000ff 00000000",
    (8192, "big"): "00000001 0000007f 00000000",
    (16384, "big"): "00000001 0000003f 00000000",
    (32768, "big"): "00000001 0000001f 00000000",
    (65536, "big"): "00000001 0000000f 00000000",
}


def page(
    size: int = 4096,
    order: str = "little",
    *,
    last: int | None = None,
    bad: int = 0,
    label: bytes = LABEL,
    uuid: UUID = UUID_,
    magic: bytes = b"SWAPSPACE2",
) -> bytes:
    """The first page of an area, of 1 MiB by default."""
    header = bytes.fromhex(GOLDEN[size, order])
    if last is not None or bad:
        header = struct.pack("<III" if order == "little" else ">III", 1, last or 255, bad)
    content = bytes(1024) + header + uuid.bytes + label
    return content.ljust(size - 10, b"\0") + magic.ljust(10, b"\0")


def disk(first: bytes, size: int = MIB) -> bytearray:
    return bytearray(first.ljust(size, b"x"))


def look(content: bytes | bytearray) -> swap.Found:
    return find_areas(reader(content), len(content))


def only(content: bytes | bytearray) -> SwapArea:
    found = look(content)
    assert found.warnings == ()
    (area,) = found.areas
    return area


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
@pytest.mark.parametrize(("magic", "name"), swap.HIBERNATED.items())
def test_a_hibernated_system_is_seen(size: int, magic: bytes, name: str) -> None:
    area = only(disk(page(size, magic=magic)))
    assert area.hibernated == name
    with pytest.raises(KitError, match=rf"^source a\.qcow2: .* at byte 0 \({name}\)$") as error:
        require_awake([area], "a.qcow2")
    assert "--swap copy" in str(error.value.hint)


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


class Mkswap:
    """Stands in for mkswap; what it gets wrong is set by `wrong`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.wrong: dict[str, int | bytes] = {}
        monkeypatch.setattr(swap, "run", self)

    def __call__(self, argv: Sequence[str], *, what: str) -> None:
        assert what.startswith("mkswap")
        self.calls.append([*argv])
        path, size = Path(argv[-1]), int(argv[4])
        made = bytes(1024) + struct.pack("=III", 1, path.stat().st_size // size - 1, 0)
        made += UUID(argv[2]).bytes
        content = bytearray(made.ljust(size - 10, b"\0") + b"SWAPSPACE2")
        for place, wrong in self.wrong.items():
            at = int(place)
            content[at : at + 1] = bytes([wrong]) if isinstance(wrong, int) else wrong
        with path.open("r+b") as file:
            file.write(content)


@pytest.fixture
def mkswap(monkeypatch: pytest.MonkeyPatch) -> Mkswap:
    return Mkswap(monkeypatch)


@pytest.mark.parametrize(("size", "order"), GOLDEN)
def test_an_area_is_made_anew_as_it_was(size: int, order: str, mkswap: Mkswap) -> None:
    area = only(disk(page(size, order)))
    header, zeros = overlays([area], MIB, MIB)
    assert header.literal == page(size, order)
    assert (header.start, header.length, header.kind) == (0, size, Kind.LITERAL)
    assert (zeros.start, zeros.end, zeros.kind) == (size, MIB, Kind.ZERO)
    (argv,) = mkswap.calls
    assert argv[:-1] == ["mkswap", "--uuid", str(UUID_), "--pagesize", str(size)]
    assert argv[-1].startswith(f"/proc/{os.getpid()}/fd/")


@pytest.mark.parametrize("label", [bytes(16), b"sixteen bytes ..", b"\xff\xfe\0after".ljust(16)])
def test_labels_keep_their_bytes(label: bytes, mkswap: Mkswap) -> None:
    content = disk(page(label=label))
    assert overlays([only(content)], MIB, MIB)[0].literal == bytes(content[:4096])
    assert len(mkswap.calls) == 1


def test_no_uuid_stays_none_and_boot_code_stays(mkswap: Mkswap) -> None:
    content = disk(page(uuid=UUID(int=0)))
    content[:3] = b"LIL"
    assert overlays([only(content)], MIB, MIB)[0].literal == bytes(content[:4096])
    assert mkswap.calls[0][2] == "00000000-0000-0000-0000-000000000000"


@pytest.mark.usefixtures("mkswap")
def test_a_whole_disk_is_sized_to_the_target() -> None:
    header, zeros = overlays([only(disk(page()))], 3 * MIB, MIB)
    assert zeros.end == 3 * MIB
    found = only(disk(header.literal, 3 * MIB))
    assert found.uuid == UUID_
    parsed = swap.parsed(header.literal)
    assert parsed is not None and parsed.last_page == 3 * 256 - 1


@pytest.mark.usefixtures("mkswap")
def test_an_area_in_a_partition_keeps_its_size_and_areas_come_in_order() -> None:
    content = bytearray(4 * MIB)
    mbr(content, [(0x82, 4096, 2048), (0x82, 64, 2100)])
    content[2 * MIB : 2 * MIB + 4096] = page()
    content[64 * 512 : 64 * 512 + 4096] = page()
    areas = look(content).areas
    made = overlays(reversed(areas), 9 * MIB, 4 * MIB)
    assert [(one.start, one.end) for one in made] == [
        (64 * 512, 64 * 512 + 4096),
        (64 * 512 + 4096, 64 * 512 + MIB),
        (2 * MIB, 2 * MIB + 4096),
        (2 * MIB + 4096, 3 * MIB),
    ]
    assert made[2].literal == page()


# The version, the last page (more than fit, too few), bad pages, the UUID, the signature.
@pytest.mark.parametrize(
    "wrong", [{"1024": 2}, {"1029": 9}, {"1028": 4}, {"1032": 1}, {"1036": 9}, {"4090": 0}]
)
def test_a_mkswap_that_does_other_than_told_is_found_out(
    wrong: dict[str, int | bytes], mkswap: Mkswap
) -> None:
    mkswap.wrong = wrong
    if "1028" in wrong:
        mkswap.wrong = {"1028": 4, "1029": 0}
    with pytest.raises(KitError, match="not what was asked for"):
        overlays([only(disk(page()))], MIB, MIB)


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
