"""Who writes to a disk of another host, by the locks that it has there."""

import os

import pytest

from node.devices.qemu_locks import shows_writer

READER = "1: OFDLCK ADVISORY  READ -1 fd:00:77 100 100;"
WRITER = "2: OFDLCK ADVISORY  READ -1 fd:00:77 100 101;3: OFDLCK ADVISORY READ -1 fd:00:77 201 201;"
HERE = os.makedev(0xFD, 0)


def written(locks: str, device: int) -> bool:
    return shows_writer(locks.split(";"), device)


def test_who_writes_to_an_image() -> None:
    assert not written("", HERE)
    assert not written(READER, HERE)
    assert written(WRITER, HERE)
    assert written(READER + WRITER, HERE)
    assert written("1: POSIX  ADVISORY  WRITE 12 fd:00:77 0 EOF;", HERE)
    assert not written("1: -> OFDLCK ADVISORY  WRITE 12 fd:00:77 101 101;", HERE)
    for told in ("hello there;", "hello out there;"):
        with pytest.raises(ValueError):  # noqa: PT011
            written(told, HERE)


def test_another_file_systems_file_of_the_same_inode_is_no_image() -> None:
    assert not written(WRITER, os.makedev(0xFD, 1))
    assert not written(WRITER, os.makedev(0, 0x2A))
    # The kernel and stat(2) have different minor numbers for btrfs.
    assert written(WRITER.replace("fd:00", "00:29"), os.makedev(0, 0x2A))
