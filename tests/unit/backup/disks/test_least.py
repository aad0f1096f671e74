"""The least that an ext file system needs; resize2fs's own figure is compared in system tests."""

from hypothesis import given
from hypothesis import strategies as st

from backup.disks import least
from backup.disks.free_blocks import FileSystem


def system(groups: int, used: int, inodes: int, *, sparse: bool = True) -> FileSystem:
    """Of groups of 128 MiB with tables of 2 MiB."""
    made = FileSystem(
        block_size=4096,
        blocks=groups * 32768,
        first_block=0,
        blocks_per_group=32768,
        free_blocks=0,
        groups=groups,
        descriptor_size=64,
        inode_table_blocks=512,
        inodes=8192,
        used_inodes=inodes,
        reserved_descriptor_blocks=100,
        sparse_super=sparse,
        metadata_csum=True,
        gdt_csum=False,
        seed=0,
        uuid=b"",
    )
    tables = groups * 514 + (101 + -(-groups * 64 // 4096)) * copies(groups, sparse=sparse)
    return FileSystem(**(vars(made) | {"free_blocks": made.blocks - tables - used}))


def copies(groups: int, *, sparse: bool) -> int:
    if not sparse:
        return groups
    powers = {base**n for base in (3, 5, 7) for n in range(12)} | {0, 1}
    return len([group for group in range(groups) if group in powers])


def test_an_almost_empty_one_needs_a_group() -> None:
    assert least.ext(system(40, 1000, 11)) == (1000 + 514 + 102) * 4096


def test_inodes_need_groups_of_their_own() -> None:
    assert least.ext(system(40, 1000, 3 * 8192)) == 2 * 32768 * 4096
    assert least.ext(system(40, 1000, 3 * 8192 + 1)) == 3 * 32768 * 4096


@given(st.integers(1, 200), st.integers(0, 100), st.booleans())
def test_it_is_never_more_than_it_has(groups: int, percent: int, sparse: bool) -> None:
    most = system(groups, 0, 0, sparse=sparse).free_blocks
    used = most * percent // 100
    found = least.ext(system(groups, used, groups * 8192 * percent // 100, sparse=sparse))
    assert used * 4096 < found <= groups * 32768 * 4096
    if percent == 100:
        assert found == groups * 32768 * 4096
