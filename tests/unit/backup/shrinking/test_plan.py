"""What of a disk is shrunk for a smaller one, and what is refused."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.shrinking.plan import CannotShrinkError, planned
from backup.streams.stream import Area, Header

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZE = 10 * GIB
ROOT = Area(MIB, 9 * GIB, "ext4", "uuid", partition=1, used=2 * GIB)
SWAP = Area(MIB + 9 * GIB, SIZE - 9 * GIB - 2 * MIB, "swap", "uuid", partition=2, used=MIB)
WHOLE = Area(0, SIZE, "ext4", used=2 * GIB)


def header(*areas: Area, table: str | None = "dos", smallest: int | None = None) -> Header:
    end = max(area.start + area.length for area in areas)
    behind = 33 * 512 if table == "gpt" else 0
    return Header(SIZE, "", partition_table=table, areas=areas, smallest=smallest or end + behind)


@pytest.mark.parametrize(
    ("found", "target", "partition", "end"),
    [
        (header(ROOT), 5 * GIB, 1, 5 * GIB),
        (header(ROOT, table="gpt"), 5 * GIB, 1, 5 * GIB - MIB),
        (header(WHOLE, table=None), 5 * GIB, None, 5 * GIB),
        (header(ROOT, SWAP), 9 * GIB + 64 * MIB, 2, 9 * GIB + 64 * MIB),
        (header(replace(ROOT, used=None), SWAP), 9 * GIB + 64 * MIB, 2, 9 * GIB + 64 * MIB),
        (header(ROOT), 5 * GIB + 512, 1, 5 * GIB),
        (header(ROOT, table="gpt"), 5 * GIB + 65 * KIB, 1, 5 * GIB),
        (header(replace(ROOT, start=63 * 512)), 5 * GIB, 1, 5 * GIB - 512),
    ],
)
def test_the_last_one_ends_with_the_target(
    found: Header, target: int, partition: int | None, end: int
) -> None:
    shrunk = planned(found, target)
    assert (shrunk.area.partition, shrunk.end) == (partition, end)
    assert shrunk.length % 4096 == 0


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (header(ROOT, replace(SWAP, type="xfs")), "partition 2 (xfs), the last on it"),
        (header(replace(WHOLE, type="LVM2_member"), table=None), "the whole disk (LVM2_member)"),
        (header(ROOT, replace(SWAP, type="unknown")), "partition 2 (unknown)"),
        (header(ROOT, replace(SWAP, used=None)), "hibernated"),
        (header(replace(ROOT, used=None)), "not certain to be in order"),
        (header(ROOT, replace(SWAP, partition=5)), "logical"),
        (header(ROOT, replace(ROOT, type="xfs")), "several signatures"),
        (header(ROOT, smallest=SIZE - MIB), "bytes or an extended partition behind partition 1"),
        (header(ROOT, table="gpt", smallest=SIZE - MIB), "behind partition 1"),
    ],
)
def test_what_cannot_be_shrunk_needs_the_disk_as_it_is(found: Header, words: str) -> None:
    with pytest.raises(CannotShrinkError) as error:
        planned(found, 5 * GIB)
    assert words in str(error.value)
    assert (error.value.smallest, error.value.likely) == (found.smallest, False)


def test_partitions_of_a_gpt_may_have_any_number() -> None:
    found = header(ROOT, replace(SWAP, partition=15), table="gpt")
    assert planned(found, 9 * GIB + 64 * MIB).area.partition == 15


def test_nothing_is_known_of_a_raw_disk() -> None:
    with pytest.raises(CannotShrinkError, match="does not tell") as error:
        planned(Header(SIZE, ""), 5 * GIB)
    assert error.value.smallest == SIZE


def test_where_too_much_is_in_it_the_smallest_size_is_told() -> None:
    with pytest.raises(CannotShrinkError, match=f"needs {2 * GIB} bytes at least") as error:
        planned(header(ROOT), 2 * GIB)
    assert error.value.likely
    assert planned(header(ROOT), error.value.smallest).length > 2 * GIB
    with pytest.raises(CannotShrinkError, match=f"needs {MIB} bytes at least") as error:
        planned(header(ROOT, SWAP), 9 * GIB + MIB)
    assert (error.value.smallest, error.value.likely) == (9 * GIB + 2 * MIB, False)
    assert planned(header(ROOT, SWAP), error.value.smallest).length == MIB


@given(
    st.integers(1, 2 * SIZE),
    st.sampled_from([None, "dos", "gpt"]),
    st.integers(0, SIZE // 512),
    st.integers(1, SIZE // 512),
    st.none() | st.integers(0, SIZE),
)
def test_what_is_planned_fits(
    target: int, table: str | None, start: int, length: int, used: int | None
) -> None:
    area = Area(start * 512, length * 512, "ext4", partition=table and 1, used=used)
    found = replace(header(area, table=table), disk_size=2 * SIZE)
    if target >= found.smallest:
        return
    with suppress(CannotShrinkError):
        shrunk = planned(found, target)
        assert used is not None and used <= shrunk.length < area.length
        assert shrunk.end + (33 * 512 if table == "gpt" else 0) <= target
