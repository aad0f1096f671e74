"""Makes dumps record by record, as dump(8) does, of the older and of the newer kind."""

import struct
from dataclasses import dataclass, field

from backup.dumps.records import MAGIC, RECORD, SUM, Type

DATE = 1_700_000_000
NEW_INODES = 2
BLOCK = 10  # records


@dataclass
class MadeDump:
    """A dump; `compact` as since 0.4b49."""

    compact: bool = False
    date: int = DATE
    records: list[bytes] = field(default_factory=list)

    def header(
        self,
        kind: int,
        *,
        inode: int = 0,
        body: bytes = bytes(128),
        parts: int = 0,
        addresses: bytes = b"",
        flags: int = NEW_INODES,
        level: int = 0,
        volume: int = 1,
        attributes: int = 0,
    ) -> None:
        """Adds a header."""
        record = bytearray(RECORD)
        number = len(self.records)
        struct.pack_into(
            "<iiiiiIII", record, 0, kind, self.date, 0, volume, number, inode, MAGIC, 0
        )
        record[32:160] = body
        struct.pack_into("<i", record, 160, parts or len(addresses))
        record[164 : 164 + len(addresses)] = addresses
        record[760:769] = b"/dev/test"
        struct.pack_into("<i", record, 692, level)
        struct.pack_into("<4I", record, 888, flags, 0, BLOCK, attributes)
        rest = (SUM - sum(struct.unpack("<256I", record))) % (1 << 32)
        struct.pack_into("<I", record, 28, rest)
        self.records.append(bytes(record))

    def start(self, bits: bytes = b"\x03") -> "MadeDump":
        """Adds what is before the inodes."""
        self.header(Type.TAPE, flags=NEW_INODES | 1)
        for kind in (Type.CLRI, Type.BITS):
            self.header(kind, parts=1)
            self.records.append(bits.ljust(RECORD, b"\0"))
        return self

    def inode(
        self,
        number: int,
        mode: int,
        content: bytes = b"",
        *,
        size: int | None = None,
        links: int = 1,
        flags: int = NEW_INODES,
    ) -> "MadeDump":
        """Adds an inode and its content; records of zeros are holes."""
        body = inode_body(mode, len(content) if size is None else size, links)
        pieces = [content[at : at + RECORD] for at in range(0, len(content), RECORD)]
        follow = [any(piece) for piece in pieces]
        kind = Type.INODE
        while True:
            used, addresses = self._addresses(follow)
            self.header(kind, inode=number, body=body, addresses=addresses, flags=flags)
            self.records += [piece.ljust(RECORD, b"\0") for piece in pieces[:used] if any(piece)]
            pieces, follow, kind = pieces[used:], follow[used:], Type.ADDR
            if not pieces:
                return self

    def _addresses(self, follow: list[bool]) -> tuple[int, bytes]:
        """Addresses for some of the records, as many as a header takes."""
        if not self.compact:
            return min(512, len(follow)), bytes(follow[:512])
        made, used = bytearray(), 0
        while used < len(follow) and len(made) < 511:
            length = 1
            while used + length < len(follow) and follow[used + length] == follow[used]:
                length += 1
            length = min(length, 64 * 256 + 64)
            bit = int(follow[used])
            if length <= 64:
                made.append((length - 1) << 1 | bit)
            else:
                more, low = divmod(length - 65, 64)
                made += bytes([0x80 | low << 1 | bit, more])
            used += length
        return used, bytes(made)

    def attributes(self, number: int, data: bytes) -> "MadeDump":
        """Adds extended attributes."""
        self.header(
            Type.INODE,
            inode=number,
            addresses=b"\1" * -(-len(data) // RECORD),
            flags=NEW_INODES | 0x8000,
            attributes=3,
        )
        self.records += [data.ljust(-(-len(data) // RECORD) * RECORD, b"\0")]
        return self

    def end(self) -> bytes:
        """Adds the end; all bytes."""
        self.header(Type.END)
        while sum(map(len, self.records)) // RECORD % BLOCK:
            self.header(Type.END)
        return b"".join(self.records)


def inode_body(mode: int, size: int, links: int = 1) -> bytes:
    """The inode in a header: 2001-09-09, uid 1000, gid 3 billions."""
    times = (1_000_000_000, 5, 1_000_000_000, 7, 0, 0)
    blocks = (0, 8 << 8 | 17, *[0] * 13)
    return struct.pack(
        "<HH4xQ6i15II8xII8x", mode, links, size, *times, *blocks, 0x80, 1000, 3_000_000_000
    )


def entry(name: bytes, inode: int, kind: int = 8) -> bytes:
    """An entry of a directory."""
    length = 8 + (len(name) + 4) // 4 * 4
    return struct.pack("<IHBB", inode, length, kind, len(name)) + name.ljust(length - 8, b"\0")
