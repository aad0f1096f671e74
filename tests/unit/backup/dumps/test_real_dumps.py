"""Dumps of one file system by both kinds of dump(8): Debian 12's, and Debian 13's."""

import gzip
import os
from hashlib import sha256
from pathlib import Path

import pytest

from backup.dumps import records
from backup.dumps.reader import DumpReader
from backup.dumps.records import Inode
from backup.streams.frames import Frames

DUMPS = Path(__file__).parents[3] / "data/dumps"
PATTERN = b"".join(b"%07d\n" % (number % 100) for number in range(40_000))
MIB = 1 << 20
# Names at the top: what each file has at which places, and its size.
FILES = {
    b"pattern": (PATTERN, len(PATTERN)),
    b"hole-first": (b"end", 5 * MIB + 3),
    b"sparse": (b"x" * 3 * 4096, 300 * MIB),
    b"attr": (b"x", 1),
    b"link": (b"pattern", 7),
}
PLACES = {b"hole-first": {5 * MIB}, b"sparse": {0, 10 * MIB, 100 * MIB - 4096}}


class Digests:
    """A sink that keeps where content is, and its digest: no holes."""

    def __init__(self) -> None:
        self.inodes: dict[int, Inode] = {}
        self.digests: dict[int, bytes] = {}
        self.places: dict[int, set[int]] = {}
        self.attributes_of: dict[str, bytes] = {}
        self._last = 0

    def begin(self, number: int, inode: Inode, /) -> None:
        self._last = number
        self.inodes[number] = inode
        self.digests[number] = b""
        self.places[number] = set()

    def data(self, place: int, view: memoryview, /) -> None:
        inode = self.inodes[self._last]
        content = bytes(view[: max(0, inode.size - place)])
        self.digests[self._last] += content
        self.places[self._last].add(place)

    def attributes(self, data: bytes, /) -> None:
        self.attributes_of |= dict(records.attributes(data))


@pytest.mark.parametrize("version", ["0.4b47", "0.4b49"])
def test_a_real_dump(version: str) -> None:
    content = gzip.decompress((DUMPS / f"{version}.gz").read_bytes())
    file = os.memfd_create("dump")
    try:
        os.write(file, content)
        os.lseek(file, 0, os.SEEK_SET)
        reader, found = DumpReader(Frames(file, "the stream")), Digests()
        start = reader.start()
        reader.inodes(found)
    finally:
        os.close(file)
    assert start.inodes == len(found.inodes)
    assert not reader.short
    top = dict(records.entries([found.digests[records.ROOT]]))
    assert set(top) == {*FILES, b"lost+found", b"d"}
    for name, (expected, size) in FILES.items():
        number = top[name]
        assert found.inodes[number].size == size, name
        assert sha256(found.digests[number]).digest() == sha256(expected).digest(), name
        assert found.places[number] >= PLACES.get(name, {0}), name
    assert list(records.entries([found.digests[top[b"d"]]])) == [(b"hard", top[b"pattern"])]
    assert found.inodes[top[b"pattern"]].links == 2
    assert found.attributes_of == {"user.a": b"value", "user.b": b"v" * 300}
