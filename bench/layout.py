"""Where on a disk a guest has its data: pure, and the same each time."""

import random

SEED = 20_240
CLUSTER = 64 * 1024  # QEMU's default, bytes
GROUP = 128 * 1024**2  # of ext4 with blocks of 4 KiB, bytes
RUNS = tuple(CLUSTER << shift for shift in range(8))  # of data and of gaps: 64 KiB to 8 MiB


def layout(size: int, data: int) -> tuple[list[tuple[int, int]], int]:
    """Where a guest has put its data: some in each block group, most in the first of them.

    Args:
        size: of the disk, bytes.
        data: bytes of data, at most a third of the disk.

    Returns:
        Ranges, (start, length) in bytes, in order and apart or adjacent, whole clusters; and the
        end of the part where the data is dense, about half of it gaps.
    """
    chance = random.Random(SEED)
    groups = size // GROUP
    table = max(data // 16 // groups // CLUSTER, 1) * CLUSTER
    left = data // CLUSTER * CLUSTER - groups * table
    ranges: list[tuple[int, int]] = []
    dense = 0
    for start in range(0, groups * GROUP, GROUP):
        ranges.append((start, table))
        at = start + table
        while left > 0 and at < start + GROUP:
            length = min(chance.choice(RUNS), left, start + GROUP - at)
            ranges.append((at, length))
            left -= length
            dense = at + length
            at = dense + chance.choice(RUNS)
    return ranges, dense
