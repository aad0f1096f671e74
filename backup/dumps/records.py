"""The format of dump(8) of Linux: records of 1 KiB, some of them headers. Pure.

A dump of level 0 has, in this order:

    TAPE            what was dumped, and when
    CLRI, BITS      a map of inodes each, 1 bit for an inode, in records behind their header
    INODE, ADDR     for each directory, then for each other file: the inode and the records of its
                    content; ADDR goes on where one header cannot name them all. The extended
                    attributes follow as one more INODE
    END             some of them, up to the end of a block of 10 records

From dump's protocols/dumprestore.h, and from dumps that versions 0.4b47 and 0.4b49 made. Headers
have a checksum, content has none.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from backup.streams.stream import StreamError

RECORD = 1024  # bytes
MAGIC, SUM = 60012, 84446
# Flags of a header.
NEW_INODES, COMPRESSED, WITHOUT_CONTENT, ATTRIBUTES = 0x2, 0x80, 0x100, 0x8000
LINUX_ATTRIBUTES = 3  # the kind in the header of attributes
ROOT = 2  # the inode of the root directory
_WORDS = struct.Struct("<256I")
_HEADER = struct.Struct("<i8xiIIII")  # type, volume, number of the record, inode, magic, checksum
_INODE = struct.Struct("<HH4xQ6i15II8xII8x")
_COUNT, _ADDRESSES, _MOST_ADDRESSES = 160, 164, 512
_LEVEL, _FLAGS = 692, 888  # three words behind the flags follows the kind of attributes
_DATE = 4
_ENTRY = struct.Struct("<IHBB")  # inode, length of the entry, type, length of the name
# Equal bytes of single records are taken together: a gigabyte has a million.
_RUN = re.compile(rb"\x00+|\x01+|[\x80-\xff].?|.", re.DOTALL)
# ext4's xattr.h: a block of attributes, and those within an inode.
_IN_BLOCK, _IN_INODE = 0xEA020000, 0xEA020001
_ATTRIBUTE = struct.Struct("<BBHIII")  # length of the name, prefix, place, inode, size, hash
_PREFIXES = {1: "user.", 4: "trusted.", 6: "security."}
_ACLS = {2: "system.posix_acl_access", 3: "system.posix_acl_default"}
_NAMED_ACL = (0x02, 0x08)  # tags of entries with an identifier: user, group


class Type(IntEnum):
    """What a header begins."""

    TAPE = 1
    INODE = 2
    BITS = 3
    ADDR = 4
    END = 5
    CLRI = 6


class Header(NamedTuple):
    """A header's fields, but for the inode."""

    type: Type
    date: int
    volume: int
    number: int  # of the record, by which it is found that one is missing
    inode: int
    parts: int  # records of a map, or bytes of addresses
    level: int
    flags: int
    kind_of_attributes: int
    addresses: bytes


class Inode(NamedTuple):
    """What a dump keeps of an inode; times in nanoseconds."""

    mode: int
    links: int
    size: int
    atime: int
    mtime: int
    device: tuple[int, int]  # major and minor, of a device
    flags: int
    uid: int
    gid: int


class Entry(NamedTuple):
    """An entry of a directory; the name is None where the dump has lost it."""

    name: bytes | None
    inode: int


def header(record: bytes) -> Header:
    """Reads a header.

    Raises:
        StreamError: it is none.
    """
    kind, volume, number, inode, magic, _ = _HEADER.unpack_from(record)
    if magic != MAGIC or sum(_WORDS.unpack(record)) % (1 << 32) != SUM:
        raise StreamError("a header in it is damaged")
    (date,) = struct.unpack_from("<i", record, _DATE)
    (count,) = struct.unpack_from("<i", record, _COUNT)
    (level,) = struct.unpack_from("<i", record, _LEVEL)
    flags, _, _, attributes = struct.unpack_from("<4I", record, _FLAGS)
    try:
        known = Type(kind)
    except ValueError:
        raise StreamError(f"a header in it is of the unknown type {kind}") from None
    if count < 0 or (known in (Type.INODE, Type.ADDR) and count > _MOST_ADDRESSES):
        raise StreamError("a header in it is damaged: it names too many records")
    addresses = record[_ADDRESSES : _ADDRESSES + min(count, _MOST_ADDRESSES)]
    return Header(known, date, volume, number, inode, count, level, flags, attributes, addresses)


def inode(record: bytes) -> Inode:
    """The inode in a header."""
    mode, links, size, *times_and_blocks, flags, uid, gid = _INODE.unpack_from(record, 32)
    atime, atime_us, mtime, mtime_us, _, _ = times_and_blocks[:6]
    return Inode(
        mode=mode,
        links=links,
        size=size,
        atime=atime * 10**9 + atime_us * 1000,
        mtime=mtime * 10**9 + mtime_us * 1000,
        device=device(times_and_blocks[6], times_and_blocks[7]),
        flags=flags,
        uid=uid,
        gid=gid,
    )


def device(old: int, new: int) -> tuple[int, int]:
    """Major and minor number, from the first two blocks of an inode (ext4_iget() of Linux)."""
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


def runs(addresses: bytes) -> Iterator[tuple[int, bool]]:
    """What a header says of content: how many records, and whether they follow or are a hole.

    One byte is a record up to version 0.4b48: 1, or 0 for a hole. Since 0.4b49 it is one of a run;
    a second byte makes a run longer.

    Raises:
        StreamError: the second byte is missing.
    """
    for found in _RUN.findall(addresses):
        byte = found[0]
        if byte < 2:
            yield len(found), bool(byte)
        elif byte < 0x80:
            yield (byte >> 1) + 1, bool(byte & 1)
        elif len(found) == 2:
            yield (byte >> 1 & 0x3F) + 1 + 64 * (found[1] + 1), bool(byte & 1)
        else:
            raise StreamError("a header in it is damaged: it ends within a run of records")


def entries(pieces: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a directory, but for `.` and `..`.

    Of names with 252 and more bytes, dump writes a wrong length of the entry and no name.

    Args:
        pieces: its content; no more than one of them is held, and the start of an entry.

    Raises:
        StreamError: it is damaged.
    """
    data, place = b"", 0
    for piece in pieces:
        data, place = data[place:] + piece, 0
        while place + _ENTRY.size <= len(data):
            number, length, _, name_length = _ENTRY.unpack_from(data, place)
            if length < _ENTRY.size or length % 4:
                raise StreamError("a directory in it is damaged")
            if place + length > len(data):
                break  # the rest of it is in the next piece
            name = data[place + _ENTRY.size : place + length][:name_length]
            place += length
            if number and name not in (b".", b".."):
                yield _entry(name if len(name) == name_length else None, number)
    if len(data) - place >= _ENTRY.size:
        raise StreamError("a directory in it is damaged")


def _entry(name: bytes | None, inode: int) -> Entry:
    if name is not None and (not name or b"/" in name or b"\0" in name):
        raise StreamError(f"a directory in it is damaged: it has the name {name!r}")
    return Entry(name, inode)


def attributes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Extended attributes, as setxattr(2) takes them.

    Raises:
        StreamError: they are damaged.
    """
    (magic,) = struct.unpack_from("<I", data.ljust(4, b"\0"))
    if magic not in (_IN_BLOCK, _IN_INODE):
        raise StreamError("extended attributes in it are damaged")
    # Of those in an inode, places are counted from the first entry on.
    place, base = (32, 0) if magic == _IN_BLOCK else (4, 4)
    while data[place : place + 4].strip(b"\0"):
        if place + _ATTRIBUTE.size > len(data):
            raise StreamError("extended attributes in it are damaged")
        length, prefix, value_at, elsewhere, size, _ = _ATTRIBUTE.unpack_from(data, place)
        start = place + _ATTRIBUTE.size
        name = data[start : start + length]
        value = data[base + value_at : base + value_at + size]
        if len(name) < length or len(value) < size or elsewhere:
            raise StreamError("extended attributes in it are damaged")
        place = start + length + -length % 4
        if prefix in _ACLS:
            yield _ACLS[prefix], acl(value)
        elif prefix in _PREFIXES and b"\0" not in name:
            yield _PREFIXES[prefix] + name.decode("utf-8", "surrogateescape"), value


def acl(stored: bytes) -> bytes:
    """An access control list as setxattr(2) takes it, from that on the disk (ext4's acl.h).

    Raises:
        StreamError: it is damaged.
    """
    made, place = [struct.pack("<I", 2)], 4
    if stored[:4] != struct.pack("<I", 1):
        raise StreamError("an access control list in it is damaged")
    while place < len(stored):
        tag, permissions = struct.unpack_from("<HH", stored.ljust(place + 4, b"\0"), place)
        place += 4
        number = 0xFFFFFFFF
        if tag in _NAMED_ACL:
            (number,) = struct.unpack_from("<I", stored.ljust(place + 4, b"\0"), place)
            place += 4
        made.append(struct.pack("<HHI", tag, permissions, number))
    if place != len(stored):
        raise StreamError("an access control list in it is damaged")
    return b"".join(made)
