"""How large a raw disk is, by what its first bytes state. Pure."""

import struct

from backup.disks import free_blocks
from converter.contents import gpt, partitions, swap_header
from converter.contents.superblocks import signatures
from converter.reading import Read, Window

HEAD = 128 << 10  # bytes that tell: btrfs's superblock is at 64 KiB
EXT = ("ext2", "ext3", "ext4")


def stated_size(head: bytes, size: int) -> int | None:
    """How many bytes a raw disk has at least, by its partition table or its only file system.

    Args:
        head: its first HEAD bytes.
        size: of the disk that it is for.

    Returns:
        None where nothing is known there that states a size.
    """

    def read(offset: int, length: int) -> bytes:
        return head[offset : offset + length].ljust(length, b"\0")

    size = max(size, HEAD)
    found = partitions.table(read, size)
    if found is None:
        return of_file_system(read, size)
    if found.kind == "gpt":
        return _of_gpt(read, size)
    return end_of_slots(head)


def end_of_slots(mbr: bytes) -> int:
    """Where the last of an MBR's four entries ends; bytes."""
    slots = struct.iter_unpack("<4xB3xII", mbr[gpt.MBR_ENTRIES : gpt.MBR_ENTRIES + 64])
    return max((start + count) * partitions.SECTOR if kind else 0 for kind, start, count in slots)


def _of_gpt(read: Read, size: int) -> int | None:
    """Up to the backup: sectors 1 and `other` are the first and the last one."""
    for sector in gpt.SECTORS:
        if header := gpt.header_at(read, size, sector, 1):
            return (max(header.other, header.last) + 1) * sector
    return None


def of_file_system(read: Read, size: int) -> int | None:
    """The bytes that a file system or swap area states; None if it is not the only one there.

    Args:
        read: reads the place that it has.
        size: of that place, bytes.
    """
    window = Window(read, 0, size)
    types = [found.type for found in signatures(window)]
    if not types and (area := swap_header.find_areas(read, size).areas):
        header = swap_header.parsed(window.at(0, swap_header.PAGE_SIZES[0]))
        return header and (header.last_page + 1) * area[0].page_size
    if len(types) != 1:
        return None
    if types[0] in EXT:
        return free_blocks.stated_size(window.at(free_blocks.SUPERBLOCK, 1024))
    if types[0] == "xfs":  # xfs_dsb: sb_blocksize, sb_dblocks
        block_size, blocks = struct.unpack(">IQ", window.at(4, 12))
        return int(block_size * blocks)
    if types[0] == "btrfs":  # struct btrfs_super_block: dev_item.total_bytes
        (devices,) = struct.unpack("<Q", window.at((64 << 10) + 0x88, 8))
        (total,) = struct.unpack("<Q", window.at((64 << 10) + 0xD1, 8))
        return int(total) if devices == 1 else None
    return None
