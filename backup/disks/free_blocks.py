"""Which blocks of an ext2, ext3 or ext4 file system are free, by its block bitmaps. Pure.

Nothing of a disk may be lost, so an answer is given only where nothing contradicts it: the file
system was unmounted and is without errors, all its features are known, its checksums are right, and
each bitmap has as many free blocks as its group and the superblock say. Anything else raises
`NotCertainError`, and the caller keeps all blocks.

From the kernel's Documentation/filesystems/ext4: "Super Block", "Block Group Descriptors", "Block
and Inode Bitmaps", "Checksums".
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

Read = Callable[[int, int], bytes]  # offset and length, inside of the file system -> its bytes

SUPERBLOCK, SUPERBLOCK_SIZE = 1024, 1024
_MAGIC = 0xEF53
_VALID, _ERRORS = 1, 2  # s_state
# s_feature_compat
_SPARSE_SUPER2 = 0x200
# s_feature_incompat: filetype, extents, 64bit, flex_bg, ea_inode, csum_seed, largedir,
# inline_data, encrypt, casefold. Not among them: recover (a journal to replay), journal_dev,
# meta_bg (descriptors elsewhere), mmp (somebody may have it open), compression, dirdata.
_KNOWN_INCOMPAT = 0x2 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
_64BIT, _CSUM_SEED = 0x80, 0x2000
# s_feature_ro_compat: sparse_super, large_file, huge_file, gdt_csum, dir_nlink, extra_isize, quota,
# metadata_csum, readonly, project, verity. Not among them: bigalloc, btree_dir, has_snapshot,
# shared_blocks, orphan_present (inodes that are still to be removed).
_KNOWN_RO = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x400 | 0x1000 | 0x2000 | 0x8000
_SPARSE_SUPER, _GDT_CSUM, _METADATA_CSUM = 0x1, 0x10, 0x400
_BLOCK_UNINIT = 0x2  # bg_flags
_MAX_GROUPS = 1 << 20  # 128 TiB with blocks of 4 KiB
_ZERO_BYTES = re.compile(rb"\0{2,}")  # of a bitmap: 16 free blocks and more


class NotCertainError(ValueError):
    """Which blocks are free is not certain; says why."""


@dataclass(frozen=True)
class FileSystem:
    """What the superblock says; blocks are numbered from the file system's start."""

    block_size: int  # bytes
    blocks: int
    first_block: int  # 1 where blocks have 1 KiB, else 0
    blocks_per_group: int
    free_blocks: int
    groups: int
    descriptor_size: int  # bytes
    inode_table_blocks: int  # of a group
    inodes: int  # of a group
    used_inodes: int
    reserved_descriptor_blocks: int
    sparse_super: bool
    metadata_csum: bool
    gdt_csum: bool
    seed: int  # of checksums
    uuid: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return self.blocks * self.block_size

    def group_blocks(self, group: int) -> int:
        """How many blocks a group has; the last one may have fewer."""
        begun = self.first_block + group * self.blocks_per_group
        return min(self.blocks_per_group, self.blocks - begun)


@dataclass(frozen=True)
class _Group:
    number: int
    block_bitmap: int
    inode_bitmap: int
    inode_table: int
    free_blocks: int
    uninitialised: bool  # its bitmap was never written
    bitmap_checksum: int


def superblock(read: Read, length: int) -> FileSystem:
    """Reads the superblock.

    Args:
        read: reads the file system.
        length: bytes that there are for it.

    Raises:
        NotCertainError: it is none, or its blocks cannot be told with certainty.
    """
    if length < SUPERBLOCK + SUPERBLOCK_SIZE:
        raise NotCertainError("it is too small for a file system")
    data = read(SUPERBLOCK, SUPERBLOCK_SIZE)

    def number(offset: int, size: int = 4) -> int:
        return int.from_bytes(data[offset : offset + size], "little")

    if number(0x38, 2) != _MAGIC:
        raise NotCertainError("it has no superblock of ext2, ext3 or ext4")
    compat, incompat, read_only = number(0x5C), number(0x60), number(0x64)
    if number(0x4C) != 1:
        raise NotCertainError("it is of a revision without features")
    if number(0x3A, 2) & (_VALID | _ERRORS) != _VALID:
        raise NotCertainError("it was not unmounted, or has errors")
    if incompat & 0x4:
        raise NotCertainError("its journal is to be replayed")
    if incompat & ~_KNOWN_INCOMPAT or read_only & ~_KNOWN_RO or compat & _SPARSE_SUPER2:
        raise NotCertainError("it has features that are not known here")
    if number(0xE8):
        raise NotCertainError("it has inodes that are still to be removed")  # s_last_orphan
    metadata_csum = bool(read_only & _METADATA_CSUM)
    if metadata_csum and crc32c(0xFFFFFFFF, data[:0x3FC]) != number(0x3FC):
        raise NotCertainError("its superblock has a wrong checksum")
    is_64bit = bool(incompat & _64BIT)
    uuid = data[0x68:0x78]
    size_shift = number(0x18)
    if size_shift > 6 or number(0x1C) != size_shift:
        raise NotCertainError("its blocks are of an odd size")
    block_size = 1024 << size_shift
    blocks = number(4) | (number(0x150) << 32 if is_64bit else 0)
    free = number(0xC) | (number(0x158) << 32 if is_64bit else 0)
    first, per_group, inodes = number(0x14), number(0x20), number(0x28)
    inode_size, descriptor_size = number(0x58, 2), number(0xFE, 2) if is_64bit else 32
    if (
        first != (1 if block_size == 1024 else 0)
        or not 0 < per_group <= 8 * block_size
        or per_group % 8
        or not first < blocks
        or blocks * block_size > length
        or descriptor_size not in (32, 64)
        or not inodes
        or inode_size < 128
    ):
        raise NotCertainError("the figures of its superblock are not possible")
    groups = -(-(blocks - first) // per_group)
    if groups > _MAX_GROUPS:
        raise NotCertainError("it has more groups of blocks than are looked at")
    return FileSystem(
        block_size=block_size,
        blocks=blocks,
        first_block=first,
        blocks_per_group=per_group,
        free_blocks=free,
        groups=groups,
        descriptor_size=descriptor_size,
        inode_table_blocks=-(-inodes * inode_size // block_size),
        inodes=inodes,
        used_inodes=max(0, number(0x0) - number(0x10)),
        reserved_descriptor_blocks=number(0xCE, 2) if compat & 0x10 else 0,
        sparse_super=bool(read_only & _SPARSE_SUPER),
        metadata_csum=metadata_csum,
        gdt_csum=bool(read_only & _GDT_CSUM),
        seed=number(0x270) if incompat & _CSUM_SEED else crc32c(0xFFFFFFFF, uuid),
        uuid=uuid,
    )


def stated_size(data: bytes) -> int:
    """The bytes that a file system has by its superblock, whatever state it is in."""
    blocks, size_shift, incompat = (
        int.from_bytes(data[place : place + 4], "little") for place in (0x4, 0x18, 0x60)
    )
    if incompat & _64BIT:
        blocks |= int.from_bytes(data[0x150:0x154], "little") << 32
    return blocks * (1024 << min(size_shift, 6))


def free_runs(read: Read, length: int) -> Iterator[tuple[int, int]]:
    """The runs of free blocks of 16 and more, in order, as offset and length in bytes.

    They count once the last was given: an error may come behind them.

    Args:
        read: reads the file system.
        length: bytes that there are for it.

    Raises:
        NotCertainError: which blocks are free is not certain.
    """
    system = superblock(read, length)
    groups = list(_groups(system, read))
    metadata = _metadata_blocks(system, groups)
    held: tuple[int, int] | None = None
    total = 0
    for group in groups:
        count = system.group_blocks(group.number)
        bitmap = _bitmap(system, group, metadata.get(group.number, ()), read)
        used = int.from_bytes(bitmap, "little") & ((1 << count) - 1)
        free = count - used.bit_count()
        if free != group.free_blocks:
            raise NotCertainError(
                f"the bitmap of group {group.number} has {free} free blocks, its descriptor says"
                f" {group.free_blocks}"
            )
        total += free
        begin = system.first_block + group.number * system.blocks_per_group
        for match in _ZERO_BYTES.finditer(bitmap, 0, count // 8):
            start = (begin + 8 * match.start()) * system.block_size
            size = 8 * (match.end() - match.start()) * system.block_size
            if held is not None and sum(held) == start:
                held = (held[0], held[1] + size)
                continue
            if held is not None:
                yield held
            held = (start, size)
    if total != system.free_blocks:
        raise NotCertainError(
            f"its bitmaps have {total} free blocks, its superblock says {system.free_blocks}"
        )
    if held is not None:
        yield held


def _groups(system: FileSystem, read: Read) -> Iterator[_Group]:
    """The group descriptors: they begin in the block behind the superblock's."""
    table = (system.first_block + 1) * system.block_size
    if table + system.groups * system.descriptor_size > system.size:
        raise NotCertainError("its group descriptors do not fit into it")
    data = read(table, system.groups * system.descriptor_size)
    for number in range(system.groups):
        begin = number * system.descriptor_size
        descriptor = data[begin : begin + system.descriptor_size]
        if not _is_checked(system, number, descriptor):
            raise NotCertainError(f"the descriptor of group {number} has a wrong checksum")
        low = struct.unpack_from("<IIIHHHHIHHHH", descriptor)
        high = struct.unpack_from("<IIIHHHHIHH", descriptor, 32) if len(descriptor) == 64 else None
        group = _Group(
            number=number,
            block_bitmap=low[0] | (high[0] << 32 if high else 0),
            inode_bitmap=low[1] | (high[1] << 32 if high else 0),
            inode_table=low[2] | (high[2] << 32 if high else 0),
            free_blocks=low[3] | (high[3] << 16 if high else 0),
            uninitialised=bool(low[6] & _BLOCK_UNINIT)
            and (system.metadata_csum or system.gdt_csum),
            bitmap_checksum=low[8] | (high[8] << 16 if high else 0),
        )
        places = (group.block_bitmap, group.inode_bitmap, group.inode_table)
        last = (0, 0, system.inode_table_blocks - 1)
        if not all(
            system.first_block < place and place + more < system.blocks
            for place, more in zip(places, last, strict=True)
        ):
            raise NotCertainError(f"the tables of group {number} are not on the file system")
        yield group


def _is_checked(system: FileSystem, number: int, descriptor: bytes) -> bool:
    """Whether a group descriptor's checksum is right, where it has one (at offset 0x1E)."""
    stated = int.from_bytes(descriptor[0x1E:0x20], "little")
    if system.metadata_csum:
        crc = crc32c(system.seed, struct.pack("<I", number))
        crc = crc32c(crc, descriptor[:0x1E] + b"\0\0" + descriptor[0x20:])
        return crc & 0xFFFF == stated
    if system.gdt_csum:
        crc = crc16(0xFFFF, system.uuid + struct.pack("<I", number))
        return crc16(crc, descriptor[:0x1E] + descriptor[0x20:]) == stated
    return True


def _bitmap(system: FileSystem, group: _Group, metadata: tuple[int, ...], read: Read) -> bytes:
    """A group's bitmap: a bit for each block, set where it is in use."""
    if group.uninitialised:
        bits = sum({1 << block for block in metadata})
        return bits.to_bytes(system.blocks_per_group // 8, "little")
    data = read(group.block_bitmap * system.block_size, system.block_size)
    bitmap = data[: system.blocks_per_group // 8]
    if system.metadata_csum:
        crc = crc32c(system.seed, bitmap)
        mask = 0xFFFFFFFF if system.descriptor_size == 64 else 0xFFFF
        if crc & mask != group.bitmap_checksum & mask:
            raise NotCertainError(f"the bitmap of group {group.number} has a wrong checksum")
    return bitmap


def _metadata_blocks(system: FileSystem, groups: list[_Group]) -> dict[int, tuple[int, ...]]:
    """The blocks of each uninitialised group that hold tables, numbered within it.

    Its bitmap is not on the disk: what is in use there are copies of the superblock and the
    descriptors, and tables of any group (flex_bg).
    """
    wanted = {group.number: set[int]() for group in groups if group.uninitialised}
    if not wanted:
        return {}

    def note(block: int, count: int) -> None:
        for each in range(block, block + count):
            number, place = divmod(each - system.first_block, system.blocks_per_group)
            if number in wanted:
                wanted[number].add(place)

    table_blocks = -(-system.groups * system.descriptor_size // system.block_size)
    for group in groups:
        note(group.block_bitmap, 1)
        note(group.inode_bitmap, 1)
        note(group.inode_table, system.inode_table_blocks)
        if _has_superblock(system, group.number):
            begin = system.first_block + group.number * system.blocks_per_group
            note(begin, 1 + table_blocks + system.reserved_descriptor_blocks)
    return {number: tuple(blocks) for number, blocks in wanted.items()}


def _has_superblock(system: FileSystem, group: int) -> bool:
    """Whether a group begins with a copy of the superblock: all, or 0, 1, powers of 3, 5 and 7."""
    if not system.sparse_super or group in (0, 1):
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


@cache
def _table(polynomial: int) -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


def crc32c(crc: int, data: bytes) -> int:
    """CRC-32C as ext4 has it: no inversion at the end; begun with the seed."""
    table = _table(0x82F63B78)
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def crc16(crc: int, data: bytes) -> int:
    """CRC-16 of lib/crc16.c of Linux."""
    table = _table(0xA001)
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc
