"""What is kept of directories until their files get names."""

import struct
from contextlib import closing
from pathlib import Path

import pytest

from backup.dumps import records, staging
from backup.dumps.staging import Staging
from backup.streams.stream import StreamError

from .made_dumps import inode_body


def kept(made: Staging, number: int, content: bytes) -> Path:
    path = made.path("entries", number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<I", 0x10) + content)
    return path


def test_a_directory_is_read_once_and_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_PIECE", 4)
    with closing(Staging(tmp_path)) as made:
        path = kept(made, 12, b"0123456789")
        found = staging.read_entries(made, 12)
        assert found is not None
        flags, pieces = found
        assert flags == 0x10
        assert staging.read_entries(made, 12) is None
        assert list(pieces) == [b"0123", b"4567", b"89"]
        assert list(path.parent.iterdir()) == []
        assert staging.read_entries(made, 13) is None


@pytest.mark.parametrize("mode", [0o100644, 0o120777, 0o40755])
def test_an_inode_that_comes_twice_is_refused(mode: int, tmp_path: Path) -> None:
    with closing(Staging(tmp_path)) as made:
        path = made.path("single", 12)
        path.parent.mkdir(parents=True)
        path.touch()
        inode = records.inode((bytes(32) + inode_body(mode, 1)).ljust(records.RECORD, b"\0"))
        with pytest.raises(StreamError, match="inode 12 comes twice"):
            made.begin(12, inode._replace(flags=0))


@pytest.mark.parametrize("target", [b"", b"a\0b"])
def test_a_symlink_that_cannot_be_is_damage(target: bytes, tmp_path: Path) -> None:
    inode = records.inode((bytes(32) + inode_body(0o120777, 3)).ljust(records.RECORD, b"\0"))
    with closing(Staging(tmp_path)) as made:
        made.begin(12, inode._replace(flags=0))
        made.data(0, memoryview(target))
        with pytest.raises(StreamError, match="inode 12 in it is a symlink to no possible name"):
            made.end()
