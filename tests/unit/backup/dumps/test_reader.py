"""Dumps that are whole, cut at every place, and altered."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.dumps.reader import DumpReader, Start
from backup.dumps.records import RECORD, Inode, Type
from backup.streams.frames import Frames
from backup.streams.stream import StreamError
from tests.unit.backup.made import opened

from .made_dumps import MadeDump, entry

NOISE = bytes(range(1, 256)) * 21
SPARSE = NOISE + bytes(600 * RECORD) + NOISE + bytes(70 * RECORD) + b"end"
DIRECTORY = entry(b".", 2) + entry(b"file", 12)
ATTRIBUTES = b"some attributes"


def whole(*, compact: bool) -> MadeDump:
    made = MadeDump(compact=compact).start(b"\x02\x08")
    made.inode(2, 0o40755, DIRECTORY).inode(12, 0o100644, SPARSE)
    return made.attributes(12, ATTRIBUTES)


class Collected:
    """A sink that keeps all in memory."""

    def __init__(self) -> None:
        self.files: dict[int, tuple[Inode, bytearray]] = {}
        self.attributes_of: dict[int, bytes] = {}
        self._last = 0

    def begin(self, number: int, inode: Inode, /) -> None:
        self.files[number] = inode, bytearray(inode.size)
        self._last = number

    def data(self, place: int, view: memoryview, /) -> None:
        inode, content = self.files[self._last]
        content[place : place + len(view)] = view[: max(0, inode.size - place)]

    def attributes(self, data: bytes, /) -> None:
        self.attributes_of[self._last] = data.rstrip(b"\0")


@contextmanager
def reading(data: bytes) -> Iterator[DumpReader]:
    with opened(data) as file:
        yield DumpReader(Frames(file, "the stream"))


def read(data: bytes) -> tuple[Start, Collected]:
    found = Collected()
    with reading(data) as reader:
        start = reader.start()
        reader.inodes(found)
    return start, found


@pytest.mark.parametrize("compact", [False, True])
def test_a_whole_dump(compact: bool) -> None:
    start, found = read(whole(compact=compact).end())
    assert start == Start("/dev/test", 2)
    assert {number: bytes(content) for number, (_, content) in found.files.items()} == {
        2: DIRECTORY,
        12: SPARSE,
    }
    assert found.attributes_of == {12: ATTRIBUTES}


@pytest.mark.parametrize("compact", [False, True])
def test_both_kinds_name_long_content_in_several_headers(compact: bool) -> None:
    content = b"".join(
        (NOISE * 5)[: RECORD * 2] + bytes(RECORD * (1 + number % 3)) for number in range(700)
    )
    made = MadeDump(compact=compact).start()
    made.inode(2, 0o40755, DIRECTORY).inode(12, 0o100644, content)
    _, found = read(made.end())
    assert bytes(found.files[12][1]) == content


@pytest.mark.parametrize("compact", [False, True])
def test_a_dump_that_is_cut_anywhere_before_its_end_fails(compact: bool) -> None:
    made = whole(compact=compact)
    before = sum(map(len, made.records))
    data = made.end()
    for length in [*range(0, before + RECORD, 512), before + RECORD - 1]:
        with pytest.raises(StreamError):
            read(data[:length])
    # One record of the end is enough; dump writes up to ten, to fill a block.
    read(data[: before + RECORD])


@given(st.data())
def test_a_record_that_is_missing_or_comes_twice_fails(data: st.DataObject) -> None:
    made = whole(compact=False)
    content = made.end()
    last = len(made.records)
    pieces = [content[at : at + RECORD] for at in range(0, len(content), RECORD)]
    number = data.draw(st.integers(0, last - 11))
    if data.draw(st.booleans()):
        changed = [*pieces[:number], *pieces[number + 1 :]]
    else:
        changed = [*pieces[: number + 1], *pieces[number:]]
    with pytest.raises(StreamError):
        read(b"".join(changed))


@given(st.data())
def test_an_altered_byte_of_a_header_fails(data: st.DataObject) -> None:
    made = whole(compact=True)
    content = bytearray(made.end())
    headers = [
        at for at in range(0, len(content), RECORD) if content[at + 24 : at + 28] == b"\x6c\xea\0\0"
    ]
    place = data.draw(st.sampled_from(headers)) + data.draw(st.integers(0, RECORD - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StreamError):
        read(bytes(content))


def other_date(made: MadeDump) -> None:
    made.start()
    made.date += 1
    made.inode(2, 0o40755)


def behind_its_end(made: MadeDump) -> None:
    made.start().inode(2, 0o40755)
    made.header(Type.END)
    made.inode(12, 0o100644)


def elsewhere(made: MadeDump) -> None:
    made.start().inode(2, 0o40755)
    made.header(Type.ADDR, inode=12, addresses=b"\0")


def foreign_attributes(made: MadeDump) -> None:
    made.start().inode(2, 0o40755).attributes(12, ATTRIBUTES)


def content_behind_attributes(made: MadeDump) -> None:
    made.start().inode(2, 0o40755).inode(12, 0o100644, NOISE).attributes(12, ATTRIBUTES)
    made.header(Type.ADDR, inode=12, addresses=b"\0")


def content_of_nothing(made: MadeDump) -> None:
    made.start().header(Type.ADDR, addresses=b"\0")


def attributes_of_nothing(made: MadeDump) -> None:
    made.start().attributes(0, ATTRIBUTES)


def of_level_1(made: MadeDump) -> None:
    made.header(Type.TAPE, flags=3, level=1)


def second_volume(made: MadeDump) -> None:
    made.header(Type.TAPE, flags=3, volume=2)


def compressed(made: MadeDump) -> None:
    made.header(Type.TAPE, flags=0x83)


def without_content(made: MadeDump) -> None:
    made.start().inode(2, 0o40755, flags=0x102)


def maps_in_other_order(made: MadeDump) -> None:
    made.header(Type.TAPE, flags=3)
    made.header(Type.BITS, parts=0)


@pytest.mark.parametrize(
    "make",
    [
        *(other_date, behind_its_end, elsewhere, foreign_attributes, of_level_1, second_volume),
        *(compressed, without_content, maps_in_other_order, content_behind_attributes),
        *(content_of_nothing, attributes_of_nothing),
    ],
)
def test_what_is_no_complete_dump_is_refused(make: Callable[[MadeDump], None]) -> None:
    made = MadeDump()
    make(made)
    with pytest.raises(StreamError):
        read(made.end())


@pytest.mark.parametrize("compact", [False, True])
def test_files_that_have_less_content_than_their_size_are_told(compact: bool) -> None:
    made = MadeDump(compact=compact).start().inode(2, 0o40755, DIRECTORY)
    made.inode(12, 0o100644, bytes(8 * RECORD) + NOISE, size=20 * RECORD)
    made.inode(13, 0o100644, NOISE + bytes(600 * RECORD)).inode(14, 0o10644, size=7)
    made.inode(15, 0o100644, bytes(100), size=101)
    with reading(made.end()) as reader:
        reader.start()
        reader.inodes(Collected())
        assert reader.short == {12}
