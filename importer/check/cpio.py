"""Finds the compressed part of an initramfs, and what is in front of it. Pure.

It is a sequence of cpio archives (newc, Linux: driver-api/early-userspace/buffer-format.rst). The
first ones are not compressed: microcode, and modules that are compressed themselves (as in Ubuntu
24.04). The last one is.
"""

import re
from typing import NamedTuple

from converter.reading import Read

MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x5d\x00\x00": "lzma",
    b"\x02\x21\x4c\x18": "lz4",
    b"BZh": "bzip2",
    b"\x89LZO": "lzop",
}
_HEADER = 110  # bytes: a magic of 6 and 13 numbers of 8 hexadecimal digits
_DIGITS = re.compile(rb"07070[12][0-9A-Fa-f]{104}")
_SIZE, _NAME_SIZE = slice(54, 62), slice(94, 102)
_NAME_MAX = 256  # bytes that are read of a name, with its header
_TRAILER = b"TRAILER!!!"
MAX_ENTRIES = 10_000


class Part(NamedTuple):
    """Where the last archive begins, and how it is compressed; None if it is not.

    `names` are those of the entries that are not compressed.
    """

    offset: int
    method: str | None
    names: tuple[str, ...] = ()


def compressed_part(read: Read, size: int) -> Part | None:
    """The part of an initramfs that is compressed; None if the file is damaged.

    Without a compressed part, it is the last archive.

    Args:
        read: reads the file.
        size: of it, bytes.
    """
    offset = 0
    archive = 0
    names: list[str] = []
    for _ in range(MAX_ENTRIES):
        wanted = min(_HEADER + _NAME_MAX, size - offset)
        block = read(offset, wanted) if offset < size else b""
        head = block[:_HEADER]
        if not head.strip(b"\0"):
            padding = _padding(read, offset, size)
            if padding is None:
                return Part(archive, None, tuple(names)) if archive or offset else None
            offset = padding
            continue
        if head[:6] not in (b"070701", b"070702"):
            found = next((name for magic, name in MAGICS.items() if head.startswith(magic)), None)
            return None if found is None else Part(offset, found, tuple(names))
        if not _DIGITS.fullmatch(head):
            return None
        length, name_size = int(head[_SIZE], 16), int(head[_NAME_SIZE], 16)
        name = block[_HEADER : _HEADER + name_size]
        offset = _aligned(_aligned(offset + _HEADER + name_size) + length)
        if name.startswith(_TRAILER):
            end = _padding(read, offset, size)
            if end is None:
                return Part(archive, None, tuple(names))
            offset = archive = end
        else:
            names.append(name.rstrip(b"\0").decode("utf-8", "replace"))
    return Part(archive, None, tuple(names))


def _aligned(offset: int) -> int:
    return -(-offset // 4) * 4


def _padding(read: Read, offset: int, size: int) -> int | None:
    """The offset of the first byte that is not zero, within 64 KiB; None if there is none."""
    block = read(offset, min(65536, size - offset)) if offset < size else b""
    rest = block.lstrip(b"\0")
    return offset + len(block) - len(rest) if rest else None
