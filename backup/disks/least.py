"""How small the file systems and swap areas of a disk can become. Pure."""

from bisect import bisect_left

from backup.disks.free_blocks import FileSystem

SWAP = 1 << 20  # bytes; mkswap makes areas of 40 KiB, which are of no use


def ext(system: FileSystem) -> int:
    """The bytes that a file system of ext2, 3 or 4 has at least with its files.

    No smaller one has blocks and inodes for them, each group with its tables. resize2fs needs some
    more: it moves extents, and reckons with what that takes.
    """
    data = system.blocks - system.first_block - system.free_blocks - _tables(system, system.groups)

    def has_room(groups: int) -> bool:
        room = groups * system.blocks_per_group - _tables(system, groups)
        return groups * system.inodes >= system.used_inodes and room >= data

    groups = bisect_left(range(system.groups), True, lo=1, key=has_room)
    full = (groups - 1) * system.blocks_per_group
    blocks = system.first_block + max(full, data + _tables(system, groups))
    return min(blocks, system.blocks) * system.block_size


def _tables(system: FileSystem, groups: int) -> int:
    """The blocks that a file system of so many groups has for itself, but for its journal."""
    descriptors = -(-groups * system.descriptor_size // system.block_size)
    copy = 1 + descriptors + system.reserved_descriptor_blocks
    return groups * (2 + system.inode_table_blocks) + copy * _copies(system, groups)


def _copies(system: FileSystem, groups: int) -> int:
    """How many groups have a superblock: all, or 0, 1 and the powers of 3, 5 and 7."""
    if not system.sparse_super:
        return groups
    count = min(groups, 2)
    for base in (3, 5, 7):
        power = base
        while power < groups:
            count += 1
            power *= base
    return count
