"""A disk is empty if it reads as zeros, whether its blocks are allocated or not."""

import itertools
import os
from pathlib import Path

import pytest

from guest.instance import Disk
from installer.disks import blank
from installer.disks.blank import EDGE, PIECE
from installer.disks.layout import Layout, PlannedDisk, Role
from installer.disks.partitions import Partition, Use
from installer.settings import MIB
from node.devices.claim import Backing
from node.errors import KitError

SIZE = 1024 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, SIZE)
    return path


def content(path: Path) -> int | None:
    with path.open("rb") as file:
        return blank.first_nonzero_byte(file.fileno())


def write(path: Path, place: int, data: bytes) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), data, place)


def test_holes_and_written_zeros_are_empty(disk: Path) -> None:
    assert content(disk) is None
    write(disk, 100 * MIB, bytes(MIB))
    assert content(disk) is None
    blank.require_blank(disk, "disk 1 (/srv)", "")


@pytest.mark.parametrize(
    "place",
    [
        *(0, 1024, 64 * 1024, 4 * MIB + 17, EDGE - 1),
        *(SIZE - 1, SIZE - 4096, SIZE - 1024 * 1024, SIZE - EDGE),
        *(64 * MIB, 8 * MIB * 3 + 1024, 128 * MIB * 3, SIZE // 4),
        # Of a file, all that was ever written is looked at, wherever that is.
        *(333 * MIB + 4096, 777 * MIB + 12345),
    ],
)
def test_one_byte_is_content(disk: Path, place: int) -> None:
    write(disk, place, b"x")
    assert content(disk) == place
    with pytest.raises(KitError, match=rf"srv: it holds something .* at byte {place}") as caught:
        blank.require_blank(disk, "srv", "the remedy")
    assert caught.value.hint == "the remedy"


def test_a_tiny_disk_is_read_to_its_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(700) + b"x")
    assert content(path) == 700


def test_what_cannot_be_read_is_not_empty(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real device that fails is in the system tests; here it is one place in the middle."""
    real = os.pread
    bad = 64 * MIB

    def pread(fd: int, length: int, place: int) -> bytes:
        if place <= bad < place + length:
            raise OSError(5, "Input/output error")
        return real(fd, length, place)

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(
        KitError, match=rf"cannot check whether it is empty: byte {bad}: Input/output error"
    ):
        blank.require_blank(disk, "srv", "")


def test_samples_of_a_large_device_are_few_and_everywhere() -> None:
    size = 1024 * 1024 * MIB
    places = list(blank.sample_regions([(0, size)], size))
    assert len(places) == blank.SAMPLES
    assert {end - start for start, end in places} == {PIECE}
    starts = [start for start, _ in places]
    assert {after - before for before, after in itertools.pairwise(starts)} == {512 * MIB}


def test_samples_of_a_small_device_leave_nothing_out() -> None:
    size = 100 * MIB + 512
    places = list(blank.sample_regions([(0, size)], size))
    assert places[0][0] == 0 and places[-1][1] == size
    assert all(before[1] == after[0] for before, after in itertools.pairwise(places))


def test_each_run_of_a_file_is_sampled() -> None:
    runs = [(512 * MIB * number, 512 * MIB * number + 4096) for number in range(5000)]
    total = 400 * 1024 * MIB  # as if most of it were elsewhere
    assert [start for start, _ in blank.sample_regions(runs, total)] == [start for start, _ in runs]


def test_copies_of_superblocks_have_known_places() -> None:
    places = [start for start, _ in blank.superblock_copies(1024 * 1024 * MIB)]
    # mke2fs -n of 1 GiB: backups at blocks 8193, 24577, … of 1 KiB, at 32768, 98304, … of 4 KiB.
    for block_size, block in ((1024, 8193), (1024, 24577), (4096, 32768), (4096, 98304)):
        assert any(start <= block * block_size < start + PIECE for start in places)
    assert {64 * MIB, 256 * 1024 * MIB} <= {*places}
    assert places == sorted(places)


def test_signatures_stand_at_the_ends_of_the_disk_and_of_its_partitions() -> None:
    parts = (Partition(1, Use.ROOT, MIB, 500 * MIB),)
    root = PlannedDisk(
        Disk(0, "/dev/x", None, None, "rw"), Role.ROOT, SIZE, "/", "ext4", "u", parts
    )
    layout = Layout(root, (), (), (), (), "label", None)
    assert blank.signature_places(layout, 0, SIZE) == [
        (0, EDGE),
        (SIZE - EDGE, SIZE),
        (MIB, MIB + EDGE),
        (501 * MIB - EDGE, 501 * MIB),
    ]
    assert blank.signature_places(layout, 1, MIB) == [(0, MIB), (0, MIB)]


def test_a_wipe_zeros_what_it_is_told_and_nothing_else(tmp_path: Path) -> None:
    disk, size = tmp_path / "disk", 32 * MIB
    disk.touch()
    os.truncate(disk, size)
    write(disk, 0, b"x" * 3 * MIB)
    write(disk, 2 * EDGE, b"data")
    with disk.open("r+b") as file:
        backing = Backing(disk, size, file.fileno(), False)
        blank.zero_regions(backing, [(512, 2 * MIB + 1), (size - EDGE, size)], "disk 0")
    data = disk.read_bytes()
    assert data[:512] == b"x" * 512
    assert not data[512 : 2 * MIB + 1].strip(b"\0")
    assert data[2 * MIB + 1 : 3 * MIB] == b"x" * (MIB - 1)
    assert data[2 * EDGE : 2 * EDGE + 4] == b"data"
    assert disk.stat().st_blocks * 512 <= 4 * MIB  # the empty end was not written


def test_a_wipe_that_fails_says_so(disk: Path) -> None:
    write(disk, 0, b"x")
    with disk.open("rb") as file, pytest.raises(KitError, match="wipe of disk 0: Bad file"):
        blank.zero_regions(Backing(disk, SIZE, file.fileno(), False), [(0, EDGE)], "disk 0")
