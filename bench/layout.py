"""Plans where on a disk a guest has its data: pure, and always the same."""

import random

SEED = 20_240
CLUSTER = 64 * 1024  # QEMU's default, bytes
GROUP = 128 * 1024**2  # bytes, a block group of ext4 with blocks of 4 KiB
RUNS = tuple(CLUSTER << shift for shift in range(8))  # lengths of data and gaps: 64 KiB to 8 MiB


def layout(size: int, data: int) -> tuple[list[tuple[int, int]], int]:
    """The ranges of data on a disk: some in each block group, most in the first groups.

    Args:
        size: of the disk, bytes.
        data: bytes of data, at most a third of the disk.

    Returns:
        Ranges (start, length) of whole clusters in bytes, in order, without overlaps; and the end
        of the dense part, of which about half is gaps.
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
