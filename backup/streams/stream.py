"""The format of a backup: a zstd stream of a raw disk, with JSON in skippable frames. Pure.

`zstd -dc FILE` gives the disk, as RFC 8878 lets a decoder pass over skippable frames. In order:

    header    skippable: JSON, what the disk is
    frames    zstd, each with `frame_size` bytes of the disk (the last one: the rest), its content
              size and checksum in it; they are independent of each other
    trailer   skippable: JSON, figures and digests of the header and of all frames' content
    ends      END_FRAMES, skippable: JSON and END_SIZE bytes that do not compress

`move-instance` removes the source instance once the stream has been read to its end, but keeps it
if the reader ends with more unread than the pipes and sockets between hold. So the last frames are
read only when the disk is written, flushed and verified. The kernel lets a socket receive up to the
third number of net.ipv4.tcp_rmem (6 MiB; since Linux 6.16: 32 MiB) and send up to that of tcp_wmem
(4 MiB); pipes and programs hold less than 5 MiB.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import shake_256
from typing import Any, NamedTuple

import xxhash

VERSION = 1
FRAME_SIZE = 2 << 20  # bytes of the disk in one frame: each thread has two of them
END_SIZE = 8 << 20  # bytes; Ganeti may compress the stream on its way, and these do not get fewer
END_FRAMES = 6
ENDS_SIZE = END_FRAMES * END_SIZE
MAX_DISK = (1 << 63) - 1  # bytes, as offsets in files are signed
PAGE = 4096  # frames are made of whole pages, so that two threads never write into the same one
MAX_HEADER = 1 << 20  # bytes of JSON; a disk with 128 partitions has 40 KiB

ZSTD_MAGIC = 0xFD2FB528  # RFC 8878, 3.1.1
SKIPPABLE = 0x184D2A5A  # 3.1.2: one of 0x184D2A50 to 5F; we read no others
_SKIPPABLE_HEADER = struct.Struct("<II")  # magic, bytes that follow
_MAX_BLOCK = 128 << 10  # 3.1.1.2.4
_RAW, _RLE, _COMPRESSED = range(3)  # 3.1.1.2.2: types of blocks


class StreamError(ValueError):
    """The stream is none of ours, of another version, or damaged; says what is wrong with it."""


@dataclass(frozen=True)
class Area:
    """A file system, swap area or the like on the disk; bytes."""

    start: int
    length: int
    type: str  # blkid's name
    uuid: str | None = None
    label: str | None = None
    partition: int | None = None  # its number; None: the whole disk
    used: int | None = None  # bytes that it needs at least, where that is known


@dataclass(frozen=True)
class Header:
    """What the disk of a backup is; all figures are bytes.

    Attributes:
        disk_size: of the disk.
        kit: the version of the kit that made it.
        instance: its name.
        disk: its index, and its name in Ganeti if it has one.
        partition_table: gpt, dos or None.
        areas: what is on it, in order.
        smallest: of a disk onto which it can be restored as it is, without shrinking anything.
        left_out: bytes that are zeros in the stream though the disk holds others, by reason.
    """

    disk_size: int
    kit: str
    instance: str = ""
    disk: Mapping[str, str | int] = field(default_factory=dict)
    partition_table: str | None = None
    areas: tuple[Area, ...] = ()
    smallest: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    frame_size: int = FRAME_SIZE

    @property
    def digest(self) -> str:
        """Of all that it states, in hexadecimal."""
        return xxhash.xxh3_128_hexdigest(self.encode())

    @property
    def frames(self) -> int:
        """How many frames hold the disk."""
        return -(-self.disk_size // self.frame_size)

    def encode(self) -> bytes:
        """The frame."""
        return _skippable({"part": "header", "version": VERSION, **asdict(self)})


@dataclass(frozen=True)
class Trailer:
    """What must have been read before; bytes, and digests in hexadecimal."""

    frames: int
    disk_size: int
    compressed: int  # of all frames between header and trailer
    digest: str  # of the digests of all frames' content
    header: str  # of the header

    def encode(self) -> bytes:
        """The frame."""
        return _skippable({"part": "trailer", **asdict(self)})


def end(number: int) -> bytes:
    """One of the last frames, from 0 on; always the same bytes."""
    seed = b"ganeti-instance-kit %d" % number
    return _skippable({"part": "end", "number": number}, shake_256(seed).digest(END_SIZE))


def decode_header(payload: bytes) -> Header:
    """Reads the payload of the first skippable frame.

    Raises:
        StreamError: it is no header, or of a version that is not known.
    """
    found = _part(payload, "header")
    if found.pop("version", None) != VERSION:
        raise StreamError("its format is of a version that this kit does not know")
    try:
        areas = tuple(Area(**area) for area in found.pop("areas"))
        header = Header(**found, areas=areas)
    except (TypeError, KeyError) as error:
        raise StreamError("its header is damaged: parts are missing or not known") from error
    _check_types(header)
    if not 0 < header.disk_size <= MAX_DISK or header.smallest > header.disk_size:
        raise StreamError("its header is damaged: its sizes are not possible")
    if not 0 < header.frame_size <= FRAME_SIZE or header.frame_size % PAGE:
        raise StreamError(f"its frames have {header.frame_size} bytes, as this kit never writes")
    return header


def _check_types(header: Header) -> None:
    """Raises StreamError where a value is not of its type: others than this kit can write JSON."""
    figures: list[object] = [header.disk_size, header.frame_size, header.smallest]
    texts: list[object] = [header.kit, header.instance]
    optional: list[object] = [header.partition_table]
    mappings: list[object] = [header.disk, header.left_out]
    if all(isinstance(each, dict) for each in mappings):
        figures += [*header.left_out.values(), header.disk.get("index", 0)]
        texts.append(header.disk.get("name", ""))
    for area in header.areas:
        figures += [area.start, area.length, area.partition or 0, area.used or 0]
        texts.append(area.type)
        optional += [area.uuid, area.label]
    if not (
        all(isinstance(figure, int) and figure >= 0 for figure in figures)
        and not any(isinstance(figure, bool) for figure in figures)
        and all(isinstance(text, str) for text in texts)
        and all(text is None or isinstance(text, str) for text in optional)
        and all(isinstance(each, dict) for each in mappings)
    ):
        raise StreamError("its header is damaged: a value in it is of another type")


def decode_trailer(payload: bytes) -> Trailer:
    """Reads the payload of the frame behind the content.

    Raises:
        StreamError: it is no trailer.
    """
    try:
        return Trailer(**_part(payload, "trailer"))
    except TypeError as error:
        raise StreamError("its trailer is damaged: parts are missing or not known") from error


def require_end(payload: bytes, number: int) -> None:
    """Raises StreamError if this is not the payload of one of the last frames."""
    if payload != end(number)[_SKIPPABLE_HEADER.size :]:
        raise StreamError("one of its last frames is damaged")


class Piece(NamedTuple):
    """What begins a frame: `skippable` with its payload's length, or zstd's frame header."""

    skippable: bool
    header: int  # bytes before the payload, or before the first block
    payload: int  # skippable: bytes that follow; zstd: the content size that it states
    checksum: bool = False


NEEDED = 14  # bytes that tell all that `piece` says: the longest frame header


def piece(head: bytes) -> Piece:
    """What kind of frame begins with these bytes (NEEDED of them, less at the end of the stream).

    Raises:
        StreamError: none that we write, or less than its header.
    """
    if len(head) < _SKIPPABLE_HEADER.size:
        raise StreamError("it ends within a frame")
    magic, length = _SKIPPABLE_HEADER.unpack_from(head)
    if magic == SKIPPABLE:
        return Piece(skippable=True, header=_SKIPPABLE_HEADER.size, payload=length)
    if magic != ZSTD_MAGIC:
        raise StreamError("there are bytes between its frames that belong to none")
    # 3.1.1.1: descriptor, window (unless single segment), dictionary, content size.
    descriptor = head[4]
    single = bool(descriptor & 0x20)
    size_bytes = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    if descriptor & 0b11 or not size_bytes:
        raise StreamError("a frame needs a dictionary or does not state its size: not of this kit")
    place = 5 + (0 if single else 1)
    if len(head) < place + size_bytes:
        raise StreamError("it ends within a frame")
    content = int.from_bytes(head[place : place + size_bytes], "little")
    content += 256 if size_bytes == 2 else 0
    return Piece(False, place + size_bytes, content, bool(descriptor & 0x04))


def block(header: bytes) -> tuple[int, bool]:
    """The bytes that follow a block's header of 3 bytes, and whether it is the frame's last block.

    Raises:
        StreamError: there is no such block (RFC 8878, 3.1.1.2).
    """
    figure = int.from_bytes(header, "little")
    kind, size = figure >> 1 & 0b11, figure >> 3
    if len(header) < 3:
        raise StreamError("it ends within a frame")
    if kind not in (_RAW, _RLE, _COMPRESSED) or size > _MAX_BLOCK:
        raise StreamError("a block in it is damaged")
    return (1 if kind == _RLE else size), bool(figure & 1)


def _skippable(found: Mapping[str, Any], more: bytes = b"") -> bytes:
    payload = json.dumps(found, sort_keys=True).encode() + b"\n" + more
    return _SKIPPABLE_HEADER.pack(SKIPPABLE, len(payload)) + payload


def _part(payload: bytes, name: str) -> dict[str, Any]:
    line, _, _ = payload.partition(b"\n")
    try:
        found = json.loads(line) if len(line) <= MAX_HEADER else None
    except (ValueError, RecursionError):  # of its encoding, too
        found = None
    if not isinstance(found, dict) or found.pop("part", None) != name:
        raise StreamError(f"there is no {name} where there should be one")
    return found
