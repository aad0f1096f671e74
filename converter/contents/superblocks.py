"""Recognises file systems and the like by their superblocks, from a few KiB of a disk.

The node's kernel and blkid(8) are not used, since the data may be hostile. Offsets are from the
formats' own documents: the kernel's Documentation/filesystems and include/uapi, LUKS on-disk
formats 1 and 2, LVM's label format, ECMA-119 (ISO 9660), Microsoft's FAT specification.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from converter.reading import Window

MD_MAGIC = 0xA92B4EFC
# The features that ext3 supports; any other means ext4 (ext4(5), fs/ext4/ext4.h).
EXT3_INCOMPATIBLE = 0x2 | 0x4 | 0x10
EXT3_READ_ONLY = 0x1 | 0x2 | 0x4


class Signature(NamedTuple):
    """A superblock that was found; UUID and label as blkid(8) prints them, None if missing."""

    type: str  # blkid's name for it
    uuid: str | None = None
    label: str | None = None


def signatures(window: Window) -> list[Signature]:
    """All superblocks on a disk or partition, except those of swap."""
    return [found for probe in _PROBES if (found := probe(window)) is not None]


def is_boot_sector_of_file_system(sector: bytes) -> bool:
    """Whether a sector that ends like an MBR is the boot sector of a file system."""
    return sector[3:11] in (b"NTFS    ", b"EXFAT   ") or _fat_offset(sector) is not None


def text(raw: bytes) -> str | None:
    """A name from a disk, up to the first NUL, with invalid UTF-8 escaped; None if empty."""
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace").rstrip() or None


def uuid_text(raw: bytes) -> str | None:
    """A UUID of 16 bytes as text; None if all are zero."""
    return str(UUID(bytes=raw)) if any(raw) else None


def _ext(window: Window) -> Signature | None:
    block = window.at(1024, 1024)
    if block[56:58] != b"\x53\xef":
        return None
    compatible, incompatible, read_only = struct.unpack_from("<III", block, 92)
    if incompatible & 0x8:
        name = "jbd"  # an external journal
    elif incompatible & ~EXT3_INCOMPATIBLE or read_only & ~EXT3_READ_ONLY:
        name = "ext4"
    else:
        name = "ext3" if compatible & 0x4 else "ext2"
    return Signature(name, uuid_text(block[104:120]), text(block[120:136]))


def _xfs(window: Window) -> Signature | None:
    block = window.at(0, 512)
    if not block.startswith(b"XFSB"):
        return None
    return Signature("xfs", uuid_text(block[32:48]), text(block[108:120]))


def _btrfs(window: Window) -> Signature | None:
    block = window.at(64 << 10, 1024)
    if block[64:72] != b"_BHRfS_M":
        return None
    return Signature("btrfs", uuid_text(block[32:48]), text(block[299:555]))


def _lvm(window: Window) -> Signature | None:
    for sector in range(4):
        block = window.at(sector * 512, 512)
        if block[:8] == b"LABELONE" and block[24:32] == b"LVM2 001":
            (offset,) = struct.unpack_from("<I", block, 20)
            raw = block[offset : offset + 32].decode("ascii", "replace")
            parts = [raw[:6], *(raw[at : at + 4] for at in range(6, 26, 4)), raw[26:]]
            return Signature("LVM2_member", "-".join(parts) if len(raw) == 32 else None)
    return None


def _luks(window: Window) -> Signature | None:
    block = window.at(0, 512)
    if block[:6] != b"LUKS\xba\xbe":
        return None
    label = text(block[24:72]) if block[6:8] == b"\0\x02" else None
    return Signature("crypto_LUKS", text(block[168:208]), label)


def _fat_offset(sector: bytes) -> int | None:
    """The offset of the extended boot record in a FAT boot sector; None if it is not FAT."""
    if sector[510:512] != b"\x55\xaa" or sector[0] not in (0xE9, 0xEB):
        return None
    bytes_, per_cluster, reserved, fats = struct.unpack_from("<HBHB", sector, 11)
    media = sector[21]
    powers = all(number and not number & (number - 1) for number in (bytes_, per_cluster))
    if not (powers and 512 <= bytes_ <= 4096 and reserved and fats in (1, 2)):
        return None
    if media != 0xF0 and media < 0xF8:
        return None
    return 36 if any(sector[22:24]) else 64


def _vfat(window: Window) -> Signature | None:
    sector = window.at(0, 512)
    record = _fat_offset(sector)
    if record is None:
        return None
    if sector[record + 2] != 0x29:  # the record has no serial number and no label
        return Signature("vfat")
    low, high = struct.unpack_from("<HH", sector, record + 3)
    label = text(sector[record + 7 : record + 18])
    return Signature("vfat", f"{high:04X}-{low:04X}", None if label == "NO NAME" else label)


def _ntfs(window: Window) -> Signature | None:
    sector = window.at(0, 512)
    if sector[3:11] != b"NTFS    ":
        return None
    return Signature("ntfs", f"{struct.unpack_from('<Q', sector, 72)[0]:016X}")


def _exfat(window: Window) -> Signature | None:
    sector = window.at(0, 512)
    if sector[3:11] != b"EXFAT   ":
        return None
    low, high = struct.unpack_from("<HH", sector, 100)
    return Signature("exfat", f"{high:04X}-{low:04X}")


def _iso9660(window: Window) -> Signature | None:
    block = window.at(32 << 10, 1024)
    if block[:6] != b"\x01CD001":
        return None
    # blkid's UUID: the time of modification, else of creation.
    for offset in (830, 813):
        digits = block[offset : offset + 16].decode("ascii", "replace")
        if digits.isdecimal() and digits.strip("0"):
            parts = [digits[:4], *(digits[at : at + 2] for at in range(4, 16, 2))]
            return Signature("iso9660", "-".join(parts), text(block[40:72]))
    return Signature("iso9660", None, text(block[40:72]))


def _md_1(window: Window) -> Signature | None:
    """Metadata 1.0 near the end, 1.1 at the start, 1.2 at 4 KiB."""
    sectors = window.length // 512
    for place in ((sectors - 16 & ~7) * 512, 0, 4096):
        block = window.at(place, 256) if place >= 0 else bytes(256)
        magic, major = struct.unpack_from("<II", block)
        (own,) = struct.unpack_from("<Q", block, 144)  # super_offset: the block's own sector
        if (magic, major, own * 512) == (MD_MAGIC, 1, place):
            return Signature("linux_raid_member", uuid_text(block[16:32]), text(block[32:64]))
    return None


def _md_0(window: Window) -> Signature | None:
    """Metadata 0.90, in the last whole 64 KiB; in the writer's byte order."""
    place = (window.length & ~0xFFFF) - 0x10000
    block = window.at(place, 128) if place >= 0 else bytes(128)
    for order in "<>":
        magic, major = struct.unpack_from(f"{order}II", block)
        if (magic, major) == (MD_MAGIC, 0):
            words = struct.unpack_from(f"{order}I28xIII", block, 20)
            return Signature("linux_raid_member", uuid_text(struct.pack(">4I", *words)))
    return None


_PROBES: tuple[Callable[[Window], Signature | None], ...] = (
    *(_ext, _xfs, _btrfs, _lvm, _luks, _vfat, _ntfs, _exfat, _iso9660, _md_1, _md_0),
)
