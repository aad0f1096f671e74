"""Reads a dump in order, and finds out whether all of it came."""

import stat
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from backup.dumps import records
from backup.dumps.records import RECORD, Header, Inode, Type
from backup.streams.frames import Frames
from backup.streams.stream import StreamError
from converter.buffers import buffer

PIECE = 1 << 20  # bytes of content that are read at once
MAX_ATTRIBUTES = 64 << 10  # bytes; ext4 gives them one block
_BITS = bytes(byte.bit_count() for byte in range(256))


class Start(NamedTuple):
    """What a dump tells of itself."""

    device: str  # that was dumped
    inodes: int  # that it has


class Sink(Protocol):
    """Takes the inodes of a dump: directories come first."""

    def begin(self, number: int, inode: Inode, /) -> None:
        """An inode; its content follows."""

    def data(self, place: int, view: memoryview, /) -> None:
        """A piece of its content, at a place in bytes; what is left out is a hole."""

    def attributes(self, data: bytes, /) -> None:
        """The extended attributes of the last inode, as `records.attributes` reads them."""


class DumpReader:
    """A dump on a stream; whatever is missing in it or damaged is a StreamError.

    dump(8) numbers all records. So the number in each header tells whether one before is missing.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._record = memoryview(bytearray(RECORD))
        self._piece = buffer(PIECE)
        self._read = 0  # records
        self._date = 0
        # Files whose content ends before their size. Versions 0.4b42 and 0.4b43 (Debian 6) wrote a
        # hole at the start of a file too short: its content is not where it was.
        self.short: set[int] = set()
        self.has_ended = False  # whether all of it came

    def start(self) -> Start:
        """Reads up to the first inode.

        Raises:
            StreamError: it is no complete dump of a file system, or one that is compressed.
        """
        first = self._header(Type.TAPE)
        self._date = first.date
        device = bytes(self._record[760:824]).partition(b"\0")[0].decode(errors="replace")
        if first.flags & records.COMPRESSED:
            raise StreamError("it is compressed (dump -z), as ganeti-instance-debootstrap's is not")
        if first.volume != 1 or first.level or not first.flags & records.NEW_INODES:
            raise StreamError("it is no complete dump: not its first volume, or not of level 0")
        self._map(self._header(Type.CLRI))
        return Start(device, self._map(self._header(Type.BITS)))

    def inodes(self, sink: Sink) -> None:
        """Reads all inodes, and the end.

        Raises:
            StreamError: it is damaged, or ends before its end.
        """
        place = size = 0  # in the content of an inode
        current = -1
        has_ended = True  # whether no more content of it may come
        while True:
            found = self._header(Type.INODE, Type.ADDR, Type.END)
            if found.type is not Type.ADDR and place < size:
                self.short.add(current)
            if found.type is Type.END:
                self._rest_of_end()
                self.has_ended = True
                return
            if found.type is Type.ADDR:
                if found.inode != current or has_ended:
                    raise StreamError("the content of a file in it is not where it belongs")
            elif found.flags & records.ATTRIBUTES:
                self._attributes(found, current, sink)
                has_ended = True
                continue
            else:
                if found.flags & records.WITHOUT_CONTENT:
                    raise StreamError("it has files without their content: not of level 0")
                current, place, has_ended = found.inode, 0, False
                inode = records.inode(self._record.tobytes())
                size = inode.size if stat.S_ISREG(inode.mode) else 0
                sink.begin(current, inode)
            for length, follows in records.runs(found.addresses):
                if follows:
                    for piece in self._content(length):
                        sink.data(place, piece)
                        place += len(piece)
                else:
                    place += length * RECORD

    def _attributes(self, found: Header, current: int, sink: Sink) -> None:
        length = sum(length for length, _ in records.runs(found.addresses))
        if found.inode != current or length * RECORD > MAX_ATTRIBUTES:
            raise StreamError("extended attributes in it are not where they belong")
        data = b"".join(bytes(piece) for piece in self._content(length))
        if found.kind_of_attributes == records.LINUX_ATTRIBUTES:
            sink.attributes(data)

    def _header(self, *types: Type) -> Header:
        """The next record, a header of one of these types."""
        if self._frames.fill(self._record) < RECORD:
            raise StreamError(
                "it ends before its end: not all of it has come" if self._read else "it is empty"
            )
        found = records.header(self._record.tobytes())
        if found.number % (1 << 32) != self._read % (1 << 32):
            raise StreamError(f"a part is missing in it before record {found.number}")
        if found.type not in types or (self._date and found.date != self._date):
            raise StreamError("the parts in it are not in their order")
        self._read += 1
        return found

    def _content(self, count: int) -> Iterator[memoryview]:
        """So many records, in pieces that are good until the next one."""
        left = count * RECORD
        while left:
            piece = self._piece[: min(left, PIECE)]
            if self._frames.fill(piece) < len(piece):
                raise StreamError("it ends before its end: not all of it has come")
            left -= len(piece)
            self._read += len(piece) // RECORD
            yield piece

    def _map(self, found: Header) -> int:
        """How many bits of a map are set."""
        return sum(sum(bytes(piece).translate(_BITS)) for piece in self._content(found.parts))

    def _rest_of_end(self) -> None:
        """Reads more records of the end, and nothing else."""
        while count := self._frames.fill(self._record):
            if count < RECORD or records.header(self._record.tobytes()).type is not Type.END:
                raise StreamError("there are bytes behind its end")
