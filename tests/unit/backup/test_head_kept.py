"""What becomes of a disk that is whole when the end of its stream is not."""

from pathlib import Path

import pytest

from backup import import_
from backup.options import ImportOptions
from tests.unit.backup.disks.test_held_back import MIB, Disk, content, feed, held

DISK = ImportOptions("/dev/memory", "import of disk 0 of web", "the stream", "web-disk0")


def end_badly(disk: Disk, data: bytes) -> None:
    with held(disk, len(data)) as found:
        feed(found, data)
        found.complete()
        found.finish()
        with import_._head_kept(DISK, found):
            raise KeyboardInterrupt


def test_its_head_is_kept_and_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_, "HEADS", tmp_path / "heads")
    data = content(6 * MIB, 1)
    disk = Disk(b"\xa5" * len(data))
    with pytest.raises(KeyboardInterrupt):
        end_badly(disk, data)
    (head,) = (tmp_path / "heads").iterdir()
    assert head.read_bytes() == data[:MIB]
    assert disk.content == bytes(MIB) + data[MIB:]


def test_where_there_is_no_room_for_the_head_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may be the only copy."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(import_, "HEADS", tmp_path / "file/heads")
    data = content(6 * MIB, 1)
    disk = Disk(b"\xa5" * len(data))
    with pytest.raises(KeyboardInterrupt):
        end_badly(disk, data)
    assert disk.content == data
