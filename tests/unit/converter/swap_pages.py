"""The first pages of swap areas, and disks with these."""

import struct
from uuid import UUID

from converter.contents.swap_header import Found, SwapArea, find_areas
from tests.unit.converter.tables import reader

MIB = 1 << 20
UUID_ = UUID("11111111-2222-3333-4444-555555555555")
LABEL = b"my swap".ljust(16, b"\0")

# What mkswap 2.38 makes of 1 MiB, from byte 1024 on; the big-endian ones with turned words.
GOLDEN = {
    (4096, "little"): "01000000 ff000000 00000000",
    (8192, "little"): "01000000 7f000000 00000000",
    (16384, "little"): "01000000 3f000000 00000000",
    (32768, "little"): "01000000 1f000000 00000000",
    (65536, "little"): "01000000 0f000000 00000000",
    (4096, "big"): "00000001 000000ff 00000000",
    (8192, "big"): "00000001 0000007f 00000000",
    (16384, "big"): "00000001 0000003f 00000000",
    (32768, "big"): "00000001 0000001f 00000000",
    (65536, "big"): "00000001 0000000f 00000000",
}


def page(
    size: int = 4096,
    order: str = "little",
    *,
    last: int | None = None,
    bad: int = 0,
    label: bytes = LABEL,
    uuid: UUID = UUID_,
    magic: bytes = b"SWAPSPACE2",
) -> bytes:
    """The first page of an area, of 1 MiB by default."""
    header = bytes.fromhex(GOLDEN[size, order])
    if last is not None or bad:
        header = struct.pack("<III" if order == "little" else ">III", 1, last or 255, bad)
    content = bytes(1024) + header + uuid.bytes + label
    return content.ljust(size - 10, b"\0") + magic.ljust(10, b"\0")


def disk(first: bytes, size: int = MIB) -> bytearray:
    return bytearray(first.ljust(size, b"x"))


def look(content: bytes | bytearray) -> Found:
    return find_areas(reader(content), len(content))


def only(content: bytes | bytearray) -> SwapArea:
    found = look(content)
    assert found.warnings == ()
    (area,) = found.areas
    return area
