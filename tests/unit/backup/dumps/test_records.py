import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.dumps import records
from backup.dumps.records import Entry, Type
from backup.streams.stream import StreamError

from .made_dumps import MadeDump, entry


def test_a_header_and_its_inode() -> None:
    made = MadeDump().start().inode(12, 0o100640, b"x", links=2)
    record = made.records[-2]
    found = records.header(record)
    assert (found.type, found.inode, found.number) == (Type.INODE, 12, 5)
    assert found.addresses == b"\1"
    inode = records.inode(record)
    assert (inode.mode, inode.links, inode.size) == (0o100640, 2, 1)
    assert (inode.uid, inode.gid) == (1000, 3_000_000_000)
    assert inode.mtime == 1_000_000_000_000_007_000
    assert inode.device == (8, 17)


@given(st.integers(0, 1023), st.integers(1, 255))
def test_an_altered_header_is_found(place: int, change: int) -> None:
    record = bytearray(MadeDump().start().records[0])
    record[place] ^= change
    with pytest.raises(StreamError):
        records.header(bytes(record))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (0x0811, 0, (8, 17)),
        (0, 0x11110370, (259, 70000)),
        (0, 0x801, (8, 1)),
    ],
)
def test_devices_are_in_one_of_two_forms(old: int, new: int, expected: tuple[int, int]) -> None:
    """The second one: as of block device 259:70000."""
    assert records.device(old, new) == expected


@given(st.lists(st.tuples(st.integers(1, 16448), st.booleans()), max_size=200))
def test_runs_of_both_kinds(expected: list[tuple[int, bool]]) -> None:
    made = bytearray()
    for length, follows in expected:
        if length <= 64:
            made.append((length - 1) << 1 | follows)
        else:
            more, low = divmod(length - 65, 64)
            made += bytes([0x80 | low << 1 | follows, more])

    def flat(runs: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
        """Equal runs beside each other are one."""
        found: list[tuple[int, bool]] = []
        for length, follows in runs:
            if found and found[-1][1] == follows:
                found[-1] = found[-1][0] + length, follows
            else:
                found.append((length, follows))
        return found

    assert flat(list(records.runs(bytes(made)))) == flat(expected)


def test_single_records_are_taken_together() -> None:
    assert list(records.runs(b"\1\1\1\0\0\1")) == [(3, True), (2, False), (1, True)]
    with pytest.raises(StreamError):
        list(records.runs(b"\1\x80"))


def test_entries() -> None:
    lost = struct.pack("<IHBB", 20, 8, 8, 255)  # dump writes this for a name of 255 bytes
    free = struct.pack("<IHBB", 0, 12, 0, 0) + bytes(4)
    data = entry(b".", 2, 4) + entry(b"..", 2, 4) + entry(b"one", 12) + lost + free
    data += entry(b"n\xff\n", 13)
    assert list(records.entries([data])) == [
        Entry(b"one", 12),
        Entry(None, 20),
        Entry(b"n\xff\n", 13),
    ]


def test_entries_in_pieces() -> None:
    data = b"".join(entry(b"name %d" % number, number) for number in range(1, 40))
    whole = list(records.entries([data]))
    assert len(whole) == 39
    for size in (1, 7, 8, 100, len(data)):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert list(records.entries(pieces)) == whole
    for missing in (1, 4, 8):
        with pytest.raises(StreamError):
            list(records.entries([data[:100], data[100:-missing]]))


def test_a_directory_that_is_a_hole_is_left_at_once() -> None:
    """It may claim to have more bytes than there is memory."""
    with pytest.raises(StreamError):
        list(records.entries(iter(lambda: bytes(64 << 10), None)))


@pytest.mark.parametrize("name", [b"a/b", b"/", b"a\0b"])
def test_names_that_lead_elsewhere_are_refused(name: bytes) -> None:
    with pytest.raises(StreamError):
        list(records.entries([entry(name, 12)]))


@given(st.binary(max_size=64))
def test_a_directory_of_noise(data: bytes) -> None:
    try:
        found = list(records.entries([data]))
    except StreamError:
        return
    for name, _ in found:
        assert name is None or (name not in (b"", b".", b"..") and not {0, 47} & set(name))


# As dump 0.4b47 wrote them, cut to what is needed.
IN_INODE = (
    bytes.fromhex("010002ea 03 04 5800 00000000 03000000 00000000") + b"two\0" + bytes(4)
).ljust(4 + 0x58, b"\0") + b"2\0\xff\0"
IN_BLOCK = (
    bytes.fromhex("000002ea") + bytes(28) + bytes.fromhex("06 01 0003 00000000 00010000 00000000")
    + b"binary\0\0"
).ljust(0x300, b"\0") + bytes(range(256))  # fmt: skip


def test_attributes_in_an_inode_and_in_a_block() -> None:
    assert list(records.attributes(IN_INODE)) == [("trusted.two", b"2\0\xff")]
    assert list(records.attributes(IN_BLOCK)) == [("user.binary", bytes(range(256)))]


@given(st.binary(max_size=200), st.sampled_from([IN_INODE[:4], IN_BLOCK[:4], b""]))
def test_attributes_of_noise(data: bytes, magic: bytes) -> None:
    try:
        found = list(records.attributes(magic + data))
    except StreamError:
        return
    assert all(name.partition(".")[2] and "\0" not in name for name, _ in found)


def test_access_control_lists() -> None:
    stored = struct.pack("<I HH HHI HH", 1, 1, 6, 2, 4, 1000, 0x20, 0)
    assert records.acl(stored) == struct.pack(
        "<I HHI HHI HHI", 2, 1, 6, 0xFFFFFFFF, 2, 4, 1000, 0x20, 0, 0xFFFFFFFF
    )
    for damaged in (stored[:-1], stored[1:], b"", stored[:11]):
        with pytest.raises(StreamError):
            records.acl(damaged)
