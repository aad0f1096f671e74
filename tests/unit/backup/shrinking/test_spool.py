"""How much room the temporary file may need, and where it is."""

import os
from pathlib import Path

import pytest

from backup.shrinking import spool
from backup.shrinking.spool import SPARE, room_needed, spooled
from backup.streams.stream import Header
from converter.buffers import buffer
from node.errors import KitError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("left_out", "target", "needed"),
    [
        ({"free": 9 * GIB}, 5 * GIB, 2 * GIB),  # all of it may be moved
        ({"free": 3 * GIB}, 9 * GIB, 8 * GIB),
        ({"free": 1 * GIB, "swap": 1 * GIB}, 5 * GIB, 10 * GIB),
        ({}, 9 * GIB, 10 * GIB),
    ],
)
def test_the_room_that_may_be_needed(left_out: dict[str, int], target: int, needed: int) -> None:
    assert room_needed(Header(10 * GIB, "", left_out=left_out), target) == needed + SPARE


def test_without_room_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "DIRECTORIES", (tmp_path / "none", tmp_path))
    with pytest.raises(KitError, match=f"it may take 1 EiB, but {tmp_path} has"):
        spool.directory(1 << 60)
    assert spool.directory(1) == tmp_path


def test_the_file_has_no_name_and_is_sparse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "DIRECTORIES", (tmp_path,))
    piece = buffer(2 * MIB)
    piece[MIB + 5 : MIB + 6] = b"x"
    with spooled(Header(64 * MIB, ""), 32 * MIB) as made:
        made.data(8 * MIB, piece)
        made.zeros(10 * MIB, 10 * MIB)
        assert [*tmp_path.iterdir()] == []
        assert os.fstat(made.fd).st_size == 64 * MIB
        assert os.fstat(made.fd).st_blocks * 512 <= 128 * KIB
        made.cut(9 * MIB)
        made.cut(32 * MIB)
        assert not any(os.pread(made.fd, 32 * MIB, 0))
        made.write(b"y", 32 * MIB - 1)
        with pytest.raises(ValueError, match="beyond the end"):
            made.write(b"yy", 32 * MIB - 1)
        with made.source() as source:
            assert source.size == 32 * MIB
            assert [extent.end for extent in source.extents()][-1] == 32 * MIB
        assert os.pread(made.fd, 1, 32 * MIB - 1) == b"y"
