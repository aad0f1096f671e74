"""The ends of a disk are written last, and nothing is lost or written twice, whatever its size."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup.disks import held_back as module
from backup.disks.held_back import EDGE, HeldBack, held_back
from backup.streams.stream import FRAME_SIZE, StreamError
from converter.buffers import buffer
from node.errors import KitError
from tests.unit.converter.memory_source import MemoryTarget

SECTOR = 512
MIB = 1 << 20


class Disk(MemoryTarget):
    """A target that an import writes; no program of LVM is asked about it."""

    name = "/dev/memory"
    loses = False  # what is written last is not there when it is read back

    def sync(self) -> None:
        pass

    def forget_cached(self) -> None:
        if self.loses:
            self.content[100] ^= 1

    def require_in_place(self) -> None:
        pass


@contextmanager
def held(disk: Disk, size: int) -> Iterator[HeldBack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Zeroer", lambda target: target)
        with held_back(disk.as_target, size) as found:
            yield found


def content(size: int, seed: int) -> bytes:
    """Bytes with frames of zeros among them; no table is in it."""
    chance = random.Random(seed)
    parts = [
        chance.randbytes(FRAME_SIZE) if chance.random() < 0.6 else bytes(FRAME_SIZE)
        for _ in range(-(-size // FRAME_SIZE))
    ]
    return bytes(SECTOR) + b"".join(parts)[SECTOR:size]


def feed(found: HeldBack, data: bytes) -> None:
    for start in range(0, len(data), FRAME_SIZE):
        piece = data[start : start + FRAME_SIZE]
        if any(piece):
            view = buffer(FRAME_SIZE)[: len(piece)]
            view[:] = piece
            found.data(start, view)
        else:
            found.zeros(start, len(piece))


def restore(disk: Disk, data: bytes) -> None:
    with held(disk, len(data)) as found:
        feed(found, data)
        found.complete()
        found.finish()


sizes = st.one_of(
    st.integers(1, 10 * MIB // SECTOR),
    st.sampled_from([edge * EDGE // SECTOR + more for edge in (1, 2, 4) for more in (-1, 0, 1)]),
)


@settings(max_examples=30)
@given(sizes, st.integers(0, 3 * MIB // SECTOR) | st.just(20 * MIB // SECTOR), st.integers(0, 99))
def test_all_of_it_is_there_and_zeros_are_behind_it(sectors: int, more: int, seed: int) -> None:
    data = content(sectors * SECTOR, seed)
    disk = Disk(b"\xa5" * (len(data) + more * SECTOR))
    with held(disk, len(data)) as found:
        feed(found, data)
        assert not any(disk.content[:EDGE]) and not any(disk.content[-EDGE:])
        assert not any(disk.content[max(0, len(data) - EDGE) : len(data)])
        found.complete()
        assert not any(disk.content[:EDGE])
        found.finish()
    assert disk.content == data + bytes(more * SECTOR)


@settings(max_examples=30)
@given(sizes, st.integers(1, 3 * MIB // SECTOR), st.booleans(), st.randoms())
def test_on_a_smaller_disk_nothing_but_zeros_is_left_out(
    sectors: int, less: int, fits: bool, chance: random.Random
) -> None:
    size = (sectors + less) * SECTOR
    smaller = sectors * SECTOR
    data = bytes(SECTOR) + random.Random(1).randbytes(size)[SECTOR:]
    beyond = bytearray(size - smaller)
    if not fits:
        beyond[chance.randrange(len(beyond))] = 1
    data = data[:smaller] + beyond
    disk = Disk(b"\xa5" * smaller)
    try:
        restore(disk, data)
    except StreamError:
        assert not fits
        assert not any(disk.content[:EDGE])
    else:
        assert fits
        assert disk.content == data[:smaller]


def test_what_cannot_be_read_back_is_made_zero_again() -> None:
    data = content(6 * MIB, 1)
    disk = Disk(b"\xa5" * len(data))
    disk.loses = True
    with pytest.raises(KitError, match="not what was written"):
        restore(disk, data)
    assert not any(disk.content[:EDGE]) and not any(disk.content[-EDGE:])
