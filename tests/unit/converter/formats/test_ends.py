"""The end of images that are described at their end, and whether all blocks are before it."""

import contextlib
import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.formats import blocks
from converter.formats.blocks import check
from converter.formats.ends import SEARCHED, end
from converter.formats.foreign import ForeignError

MIB = 1 << 20


class Counting:
    """Reads within bytes, and counts how many."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.count = 0

    def __call__(self, offset: int, length: int) -> bytes:
        assert offset >= 0 and offset + length <= len(self.content)
        self.count += length
        return self.content[offset : offset + length]


def footer(size: int, kind: int = 2, data: int = 2**64 - 1) -> bytes:
    head = struct.pack(
        ">8sIIQI4sI4sQQIII",
        b"conectix",
        2,
        0x10000,
        data,
        0,
        b"win ",
        0,
        b"Wi2k",
        size,
        size,
        0,
        kind,
        0,
    )
    return head.ljust(512, b"\0")


@pytest.mark.parametrize("behind", [0, 1, 511, 512, 5000, 9 * MIB + 17])
def test_a_fixed_vhd_ends_behind_the_footer_that_says_so(behind: int) -> None:
    # Another footer behind it is an old tenant's: its size is not where it stands.
    rest = (bytes(512) + footer(512) + b"conectix" * 100).ljust(behind, b"\1")[:behind]
    content = b"\1" * MIB + footer(MIB) + rest
    assert end("vpc", Counting(content), len(content)) == MIB + 512


@pytest.mark.parametrize("behind", [0, 512, MIB])
def test_a_larger_image_that_was_there_before_makes_the_end_unclear(behind: int) -> None:
    content = b"\1" * MIB + footer(MIB) + bytes(MIB - 512) + footer(2 * MIB) + bytes(behind)
    with pytest.raises(ForeignError, match=f"at byte {MIB} or at byte {2 * MIB}"):
        end("vpc", Counting(content), len(content))


def test_only_a_part_of_a_file_is_searched() -> None:
    read = Counting(footer(0) + bytes(SEARCHED + MIB))
    assert end("raw", read, len(read.content)) == len(read.content)
    read = Counting(bytes(512) + footer(512) + bytes(SEARCHED + MIB))
    assert end("vpc", read, len(read.content)) == len(read.content)
    assert read.count <= SEARCHED + 1024


@pytest.mark.parametrize("behind", [0, 1, 512, 5 * MIB])
def test_a_streamed_vmdk_ends_behind_its_footer(behind: int) -> None:
    body = struct.pack("<4sIIQQQQIQQQB", b"KDMV", 3, 0x30001, 64, 128, 1, 20, 512, 0, 21, 128, 0)
    there = body.ljust(512, b"\0")
    header = there[:56] + b"\xff" * 8 + there[64:]
    content = header + bytes(MIB) + there + bytes(512)
    end_of_it = len(content)
    content += bytes(behind)
    assert end("vmdk", Counting(content), len(content)) == end_of_it
    # One whose directory stands elsewhere is not described at its end.
    content = there + bytes(MIB) + there + bytes(512 + behind)
    assert end("vmdk", Counting(content), len(content)) == len(content)


def dynamic_vhd(*places: int) -> bytes:
    """Of blocks of 2 MiB: a bitmap of a sector, and the data; `places` are sectors, or none."""
    entries = b"".join(struct.pack(">I", place or 0xFFFFFFFF) for place in places)
    head = footer(len(places) * 2 * MIB, 3, 512)
    header = struct.pack(">8sQQIII", b"cxsparse", 2**64 - 1, 1536, 0x10000, len(places), 2 * MIB)
    content = head + header.ljust(1024, b"\0") + entries.ljust(512, b"\xff")
    last = max(places, default=0) * 512
    return content.ljust(last + 512 + 2 * MIB if last else len(content), b"\1") + head


@pytest.mark.parametrize("places", [(0,), (0, 0), (0, 4102, 4)])
@pytest.mark.parametrize("behind", [0, 1, 512, MIB])
def test_a_dynamic_vhd_may_be_followed_by_anything(places: tuple[int, ...], behind: int) -> None:
    content = dynamic_vhd(*places) + b"\1" * behind
    check("vpc", Counting(content), len(content))


@pytest.mark.parametrize("lost", [1, 512, 513, MIB, 3 * MIB])
def test_a_dynamic_vhd_that_lacks_some_of_its_end_is_truncated(lost: int) -> None:
    content = dynamic_vhd(0, 4102, 4)[:-lost]
    with pytest.raises(ForeignError, match="it is truncated"):
        check("vpc", Counting(content), len(content))


def vhdx(disk: int, block: int, *entries: int) -> bytes:
    """A VHDX whose tables are those of the specification, and no more."""

    def guid(text: str) -> bytes:
        return uuid.UUID(text).bytes_le

    bat, metadata = 2 * MIB, 3 * MIB
    regions = struct.pack("<4sIII", b"regi", 0, 2, 0)
    for name, place in (
        ("2dc27766-f623-4200-9d64-115e9bfd4a08", bat),
        ("8b7ca206-4790-4b9a-b8fe-575f050f886e", metadata),
    ):
        regions += guid(name) + struct.pack("<QII", place, MIB, 1)
    items = {
        "caa16737-fa36-4d43-b3b6-33f0aa44e76b": struct.pack("<II", block, 0),
        "2fa54224-cd1b-4876-b211-5dbed83bf4b8": struct.pack("<Q", disk),
        "8141bf1d-a96f-4709-ba47-f233a8faab5f": struct.pack("<II", 512, 0),
    }
    table = struct.pack("<8sHH20x", b"metadata", 0, len(items))
    for number, name in enumerate(items):
        table += guid(name) + struct.pack("<IIII", 64 * 1024 + 8 * number, 8, 4, 0)
    image = bytearray(4 * MIB)
    image[:8] = b"vhdxfile"
    for place in (192 * 1024, 256 * 1024):
        image[place : place + len(regions)] = regions
    raw = struct.pack(f"<{len(entries)}Q", *entries)
    image[bat : bat + len(raw)] = raw
    image[metadata : metadata + len(table)] = table
    image[metadata + 64 * 1024 :][:24] = b""
    joined = b"".join(items.values())
    image[metadata + 64 * 1024 : metadata + 64 * 1024 + len(joined)] = joined
    return bytes(image)


def present(mib: int) -> int:
    return mib << 20 | 6


@pytest.mark.parametrize("behind", [0, 1, 512, MIB])
def test_a_vhdx_may_be_followed_by_anything(behind: int) -> None:
    # The last block is as short as the disk's end.
    image = vhdx(5 * MIB, 2 * MIB, present(4), 0, present(6)) + bytes(3 * MIB) + b"\1" * behind
    check("vhdx", Counting(image), len(image))


@pytest.mark.parametrize("lost", [1, 511, MIB])
@pytest.mark.parametrize(
    "entries",
    [(present(4), 0, present(6)), (present(4), present(5), 0), (present(5), 3 | 9 << 20, 0)],
)
def test_a_vhdx_that_lacks_some_of_its_end_is_truncated(
    lost: int, entries: tuple[int, ...]
) -> None:
    image = (vhdx(5 * MIB, 2 * MIB, *entries) + bytes(3 * MIB))[:-lost]
    with pytest.raises(ForeignError, match="it is truncated"):
        check("vhdx", Counting(image), len(image))


def test_entries_for_bitmaps_are_passed_over() -> None:
    """One stands behind each 2^23 sectors' worth of blocks; here, behind 16 of 256 MiB."""
    entries = [*[0] * 16, present(1 << 20), present(4)]
    image = vhdx(4097 * MIB, 256 * MIB, *entries) + bytes(MIB)
    check("vhdx", Counting(image), len(image))
    with pytest.raises(ForeignError, match="it is truncated"):
        check("vhdx", Counting(image[:-1]), len(image) - 1)


@pytest.mark.parametrize("block", [0, 3 * MIB, MIB >> 1, 512 * MIB])
def test_a_vhdx_of_impossible_blocks_is_damaged(block: int) -> None:
    with pytest.raises(ForeignError, match="damaged"):
        check("vhdx", Counting(vhdx(MIB, block)), 4 * MIB)


def qed(*places: int) -> bytes:
    """Of clusters of 4 KiB, and tables of one; each of the places is a cluster's number."""
    image = bytearray(3 * 4096)
    struct.pack_into("<4sIIIQQQQQ", image, 0, b"QED\0", 4096, 1, 1, 0, 0, 0, 4096, MIB)
    struct.pack_into("<Q", image, 4096, 2 * 4096)
    for number, place in enumerate(places):
        struct.pack_into("<Q", image, 2 * 4096 + 8 * number, place if place == 1 else place * 4096)
    last = max(places, default=0)
    return bytes(image).ljust((last + 1) * 4096 if last > 1 else len(image), b"\1")


@pytest.mark.parametrize("places", [(), (0, 1), (1, 9, 3)])
@pytest.mark.parametrize("behind", [0, 1, 4096, MIB + 5])
def test_a_qed_image_may_be_followed_by_anything(places: tuple[int, ...], behind: int) -> None:
    image = qed(*places) + b"\1" * behind
    check("qed", Counting(image), len(image))
    with pytest.raises(ForeignError, match="it is truncated"):
        check("qed", Counting(image), len(image) - behind - 1)


def test_a_qed_header_that_cannot_be_is_damaged() -> None:
    for place, value in ((4, 0), (4, 5000), (8, 0), (8, 1 << 30)):
        image = bytearray(qed())
        struct.pack_into("<I", image, place, value)
        with pytest.raises(ForeignError, match="damaged"):
            check("qed", Counting(bytes(image)), len(image))


def test_there_is_an_end_to_the_tables_of_a_qed_image(monkeypatch: pytest.MonkeyPatch) -> None:
    image = bytearray(qed()) + bytes(4096)
    struct.pack_into("<4Q", image, 4096, 2 * 4096, 3 * 4096, 2 * 4096, 3 * 4096)
    check("qed", Counting(bytes(image)), len(image))
    monkeypatch.setattr(blocks, "_MOST_ENTRIES", 2 * 512)
    check("qed", Counting(bytes(image)), len(image))
    monkeypatch.setattr(blocks, "_MOST_ENTRIES", 2 * 512 - 1)
    with pytest.raises(ForeignError, match="more than 1023 entries"):
        check("qed", Counting(bytes(image)), len(image))


SAMPLES = {
    "vpc": dynamic_vhd(0, 4102, 4),
    "vhdx": vhdx(5 * MIB, 2 * MIB, present(4), 0, present(6)),
    "qed": qed(1, 9, 3),
}


@settings(derandomize=True, deadline=None, max_examples=150)
@given(data=st.data())
def test_what_a_spoilt_image_says_is_judged_within_the_file(data: st.DataObject) -> None:
    image_format = data.draw(st.sampled_from(sorted(SAMPLES)))
    image = bytearray(SAMPLES[image_format])
    tables = {
        "vpc": [(0, 2048)],
        "qed": [(0, 64), (4096, 64), (8192, 64)],
        "vhdx": [(192 << 10, 96), (256 << 10, 96), (2 * MIB, 32), (3 * MIB, 160)],
    }
    for _ in range(data.draw(st.integers(1, 6))):
        start, length = data.draw(st.sampled_from(tables[image_format]))
        place = start + data.draw(st.integers(0, length - 8))
        word = data.draw(st.binary(min_size=1, max_size=8))
        image[place : place + len(word)] = word
    with contextlib.suppress(ForeignError):
        check(image_format, Counting(bytes(image)), len(image))
