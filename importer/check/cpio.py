"""Finds the compressed part of an initramfs. Pure.

It is a sequence of cpio archives (newc, Linux: driver-api/early-userspace/buffer-format.rst). The
first ones, with microcode, are not compressed; the last one is.
"""

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
_SIZE, _NAME_SIZE = slice(54, 62), slice(94, 102)
_TRAILER = b"TRAILER!!!"
MAX_ENTRIES = 10_000


class Part(NamedTuple):
    """Where the last archive begins, and how it is compressed; None if it is not."""

    offset: int
    method: str | None


def compressed_part(read: Read, size: int) -> Part | None:
    """The part of an initramfs that has its modules; None if the file is damaged.

    Without a compressed part, it is the last archive.

    Args:
        read: reads the file.
        size: of it, bytes.
    """
    offset = 0
    archive = 0
    for _ in range(MAX_ENTRIES):
        head = read(offset, min(_HEADER, size - offset)) if offset < size else b""
        if not head.strip(b"\0"):
            padding = _padding(read, offset, size)
            if padding is None:
                return Part(archive, None) if archive or offset else None
            offset = padding
            continue
        if head[:6] not in (b"070701", b"070702"):
            found = next((name for magic, name in MAGICS.items() if head.startswith(magic)), None)
            return None if found is None else Part(offset, found)
        try:
            length, name_size = int(head[_SIZE], 16), int(head[_NAME_SIZE], 16)
        except ValueError:
            return None
        name = read(offset + _HEADER, min(name_size, 64, max(0, size - offset - _HEADER)))
        offset = _aligned(_aligned(offset + _HEADER + name_size) + length)
        if name.startswith(_TRAILER):
            end = _padding(read, offset, size)
            if end is None:
                return Part(archive, None)
            offset = archive = end
    return Part(archive, None)


def _aligned(offset: int) -> int:
    return -(-offset // 4) * 4


def _padding(read: Read, offset: int, size: int) -> int | None:
    """The offset of the first byte that is not zero, within 64 KiB; None if there is none."""
    block = read(offset, min(65536, size - offset)) if offset < size else b""
    rest = block.lstrip(b"\0")
    return offset + len(block) - len(rest) if rest else None
