"""What kind of backup a stream is, told from its first bytes. Pure."""

import struct
from enum import Enum

from backup.disks.raw_size import stated_size
from backup.streams import stream
from backup.streams.stream import StreamError

# dump's protocols/dumprestore.h, struct s_spcl: records of 1 KiB of 32-bit words.
_DUMP_RECORD, _DUMP_MAGIC_AT, _DUMP_MAGIC, _DUMP_SUM = 1024, 24, 60012, 84446


class Kind(Enum):
    """What the stream is."""

    KIT = "the kit's own"
    DUMP = "of ganeti-instance-debootstrap, made by dump(8)"
    RAW = "a raw disk"


def recognised(head: bytes) -> Kind | None:
    """The kind of a stream by its first HEAD bytes (less, if it ends); None if of no known kind."""
    (magic,) = struct.unpack_from("<I", head.ljust(4, b"\0"))
    if magic == stream.SKIPPABLE:
        return Kind.KIT
    if _is_dump(head):
        return Kind.DUMP
    return Kind.RAW if stated_size(head, 1 << 62) is not None else None


def require_known(head: bytes) -> Kind:
    """The kind of a stream by its first HEAD bytes.

    Raises:
        StreamError: it is of no known kind, or empty.
    """
    if not head:
        raise StreamError("it is empty")
    if (kind := recognised(head)) is None:
        raise StreamError("its first bytes are not those of a known kind of backup")
    return kind


def _is_dump(head: bytes) -> bool:
    record = head[:_DUMP_RECORD]
    if len(record) < _DUMP_RECORD:
        return False
    (magic,) = struct.unpack_from("<I", record, _DUMP_MAGIC_AT)
    total = sum(struct.unpack("<256I", record))
    return bool(magic == _DUMP_MAGIC and total % (1 << 32) == _DUMP_SUM)
