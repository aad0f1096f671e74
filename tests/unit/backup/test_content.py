"""What of a disk is exported: frames, zeros, the smallest target, the kind of a stream."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup import KIT_VERSION, kinds
from backup.disks.content import ZERO_FRAMES, _limited, frames, planned
from backup.disks.raw_size import HEAD, stated_size
from backup.kinds import Kind
from backup.options import Origin
from backup.streams import stream
from backup.streams.stream import (
    FRAME_SIZE,
    Area,
    Header,
    StreamError,
    Trailer,
    decode_header,
    decode_trailer,
)
from converter.contents import gpt
from converter.engine.content import TargetContent
from converter.extents import Extent
from converter.extents import Kind as Bytes
from tests.unit.converter.memory_source import MemorySource

KIB, MIB = 1 << 10, 1 << 20


def disk(size: int) -> MemorySource:
    return MemorySource(b"", [Extent(0, size, Bytes.DATA)])


@given(st.data())
def test_frames_have_every_byte_once_and_zeros_alone(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 5 * FRAME_SIZE // KIB)) * KIB
    places = sorted(data.draw(st.sets(st.integers(0, size // KIB), max_size=8)))
    zeros = [
        Extent(start * KIB, (end - start) * KIB, Bytes.ZERO)
        for start, end in zip(places[::2], places[1::2], strict=False)
    ]
    content = TargetContent(disk(size), zeros, size)
    place = 0
    for chunk in frames(content):
        assert chunk.start == place
        place = chunk.end
        assert chunk.start % FRAME_SIZE == 0
        assert chunk.end % FRAME_SIZE == 0 or chunk.end == size
        inside = [(max(zero.guest_offset, chunk.start), min(zero.end, chunk.end)) for zero in zeros]
        left_out = sum(max(0, end - start) for start, end in inside)
        if not chunk.parts:
            assert left_out == chunk.length
            continue
        assert chunk.length <= FRAME_SIZE
        kept = sum(part.length for part in chunk.parts if part.kind is not Bytes.ZERO)
        assert kept == chunk.length - left_out > 0
        assert [part.guest_offset for part in chunk.parts[1:]] == [
            part.end for part in chunk.parts[:-1]
        ]
    assert place == size


def test_many_frames_of_zeros_are_few_pieces_of_work() -> None:
    size = 3 * ZERO_FRAMES * FRAME_SIZE
    content = TargetContent(disk(size), [Extent(0, size, Bytes.ZERO)], size)
    assert len(list(frames(content))) == 3


@given(
    st.builds(
        Header,
        disk_size=st.integers(1 << 50, stream.MAX_DISK),
        kit=st.text(),
        instance=st.text(),
        disk=st.fixed_dictionaries({}, optional={"index": st.integers(0), "name": st.text()}),
        smallest=st.integers(0, 1 << 50),
        left_out=st.dictionaries(st.text(), st.integers(0)),
    ),
    st.builds(
        Trailer,
        st.integers(),
        st.integers(),
        st.integers(),
        st.text(alphabet="0123456789abcdef"),
        st.text(alphabet="0123456789abcdef"),
    ),
)
def test_header_and_trailer_are_read_as_they_were_written(header: Header, trailer: Trailer) -> None:
    assert decode_header(header.encode()[8:]) == header
    assert decode_trailer(trailer.encode()[8:]) == trailer


LIES = {
    "an array": [1, 2],
    "another version": {"version": 2},
    "a text as a size": {"disk_size": "1"},
    "no size": {"disk_size": 0},
    "a size that no file can have": {"disk_size": 1 << 63},
    "a fraction": {"disk_size": 1e9},
    "true": {"smallest": True},
    "less than nothing": {"smallest": -1},
    "more than the disk": {"smallest": 8193},
    "large frames": {"frame_size": FRAME_SIZE * 2},
    "parts of pages": {"frame_size": 1000},
    "no frames": {"frame_size": 0},
    "a list as a name": {"instance": ["web1"]},
    "a text as a disk": {"disk": "0"},
    "an index of text": {"disk": {"index": "0"}},
    "a name that is a number": {"disk": {"name": 1}},
    "left out of nothing": {"left_out": None},
    "left out text": {"left_out": {"free": "1"}},
    "areas that are none": {"areas": [1]},
    "areas of one": {"areas": 1},
    "an area without a place": {"areas": [{"type": "ext4"}]},
    "an area of more": {"areas": [{"start": 0, "length": 1, "type": "ext4", "x": 1}]},
    "a UUID that is none": {"areas": [{"start": 0, "length": 1, "type": "ext4", "uuid": 5}]},
    "an area of a list": {"areas": [{"start": 0, "length": 1, "type": []}]},
    "an area that needs text": {"areas": [{"start": 0, "length": 1, "type": "ext4", "used": "x"}]},
    "a partition of text": {"areas": [{"start": 0, "length": 1, "type": "x", "partition": "1"}]},
    "more": {"more": 1},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_an_error(lie: str) -> None:
    right = json.loads(Header(disk_size=8192, kit="1").encode()[8:])
    found = LIES[lie]
    payload = json.dumps(right | found if isinstance(found, dict) else found)
    with pytest.raises(StreamError):
        decode_header(payload.encode())


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000, b'{"part": "header"}', b" " * (2 * MIB)],
)
def test_what_is_no_json_is_an_error(payload: bytes) -> None:
    with pytest.raises(StreamError):
        decode_header(payload)


def mbr(*slots: tuple[int, int, int]) -> bytes:
    """Type, first sector and count of each entry."""
    entries = b"".join(struct.pack("<4xB3xII", *slot) for slot in slots)
    return bytes(gpt.MBR_ENTRIES) + entries.ljust(64, b"\0") + b"\x55\xaa"


def swap(pages: int, magic: bytes = b"SWAPSPACE2") -> bytes:
    """An area of pages of 4 KiB that are in use."""
    header = bytearray(4096)
    struct.pack_into("<III", header, 1024, 1, pages - 1, 0)
    header[4086:] = magic.ljust(10, b"\0")
    return bytes(header) + b"page" * (1024 * (pages - 1))


@pytest.mark.parametrize(
    ("first", "second", "left_out"),
    [
        (b"SWAPSPACE2", b"SWAPSPACE2", 2 * 127 * 4096),
        (b"S1SUSPEND", b"SWAPSPACE2", 0),
        (b"SWAPSPACE2", b"S1SUSPEND", 0),
    ],
)
def test_a_hibernated_system_keeps_its_pages_in_all_swap(
    first: bytes, second: bytes, left_out: int
) -> None:
    table = mbr((0x82, 2048, 1024), (0x82, 4096, 1024)).ljust(MIB, b"\0")
    content = table + swap(128, first).ljust(MIB, b"\0") + swap(128, second).ljust(MIB, b"\0")
    source = MemorySource(content, [Extent(0, len(content), Bytes.DATA)])
    plan = planned(source, -1, Origin())
    assert plan.header.left_out["swap"] == left_out
    zeros = sum(each.length for each in plan.content.extents() if each.kind is Bytes.ZERO)
    assert zeros == left_out


def ext4(blocks: int) -> bytes:
    """The superblock's figures that count here, of blocks of 4 KiB."""
    block = bytearray(1024)
    struct.pack_into("<I", block, 4, blocks)
    struct.pack_into("<I", block, 0x18, 2)
    struct.pack_into("<H", block, 0x38, 0xEF53)
    return bytes(1024) + bytes(block)


def dumped(magic: int = 60012) -> bytes:
    """A record of dump(8): the sum of its words is 84446."""
    record = bytearray(1024)
    struct.pack_into("<II", record, 0, 1, 0)
    struct.pack_into("<I", record, 24, magic)
    struct.pack_into("<I", record, 28, (84446 - 1 - magic) % (1 << 32))
    return bytes(record) + b"x" * 4096


HEADS = {
    "ours": (Header(disk_size=1, kit="").encode(), Kind.KIT),
    "dump": (dumped(), Kind.DUMP),
    "dump of another magic": (dumped(60011), None),
    "cut dump": (dumped()[:1000], None),
    "dump with a wrong sum": (dumped()[:1000] + b"x" + dumped()[1001:], None),
    "partition table": (mbr((0x83, 2048, 4096)), Kind.RAW),
    "file system": (ext4(1000), Kind.RAW),
    "nothing": (b"", None),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(100), None),
    "zeros": (bytes(HEAD), None),
    "qcow2": (b"QFI\xfb" + bytes(1 << 16), None),
    "bzip2": (b"BZh91AY&SY" * 1000, None),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_kind_is_told_by_the_first_bytes(name: str) -> None:
    head, kind = HEADS[name]
    assert kinds.recognised(head) is kind


def test_a_raw_disk_is_as_large_as_its_table_or_file_system() -> None:
    table = mbr((0x83, 2048, 4096), (0x05, 8192, 10000))
    assert stated_size(table, 64 * MIB) == (8192 + 10000) * 512
    assert stated_size(table, MIB) == (8192 + 10000) * 512
    assert stated_size(ext4(1000), MIB) == 4096 * 1000


@given(st.binary(max_size=HEAD))
def test_any_first_bytes_are_of_a_kind_or_none(head: bytes) -> None:
    kinds.recognised(head)


def test_streams_name_the_version_of_the_kit() -> None:
    top = Path(__file__).parents[3]
    assert f'\nversion = "{KIT_VERSION}"\n' in (top / "pyproject.toml").read_text()


def test_a_header_is_never_longer_than_an_import_reads() -> None:
    """A GPT of a guest can have 8192 partitions; then the header names none."""
    areas = tuple(Area(n, 1, "ext4", "0" * 36, "label" * 20, n) for n in range(8192))
    header = Header(disk_size=1 << 40, kit="", areas=areas)
    assert decode_header(_limited(header).encode()[8:]) == replace(header, areas=())
    few = replace(header, areas=areas[:1000])
    assert decode_header(_limited(few).encode()[8:]) == few
