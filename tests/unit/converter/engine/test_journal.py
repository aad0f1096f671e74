import json
from pathlib import Path

import pytest

from converter import identity
from converter.engine.journal import Journal, Record, contradiction
from node.errors import KitError

SOURCE = {"size": 10, "head": "ab"}
TARGET = {"dm": "LVM-x", "size": 20}
RECORD = Record(SOURCE, TARGET, {"swap": "copy"}, 4096)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    journal = Journal(TARGET, tmp_path / "copies")
    assert journal.read() is None
    journal.begin(RECORD)
    assert Journal(dict(reversed(TARGET.items())), tmp_path / "copies").read() == RECORD
    journal.advance(RECORD, 8192)
    found = journal.read()
    assert found is not None and found.done == 8192
    assert [path.suffix for path in (tmp_path / "copies").iterdir()] == [".json"]
    journal.remove()
    assert journal.read() is None
    journal.remove()


def test_each_target_has_its_own(tmp_path: Path) -> None:
    Journal(TARGET, tmp_path).begin(RECORD)
    assert Journal({**TARGET, "size": 30}, tmp_path).read() is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"{}", json.dumps({"version": 1, "done": 5}).encode()]
)
def test_a_damaged_one_is_an_error_with_a_way_out(tmp_path: Path, content: bytes) -> None:
    journal = Journal(TARGET, tmp_path)
    journal.begin(RECORD)
    journal.path.write_bytes(content)
    with pytest.raises(KitError, match=str(journal.path)) as caught:
        journal.read()
    assert "remove it" in str(caught.value.hint)


def test_one_of_another_version_is_not_understood(tmp_path: Path) -> None:
    journal = Journal(TARGET, tmp_path)
    journal.begin(Record(SOURCE, TARGET, {}, 0, version=99))
    with pytest.raises(KitError, match="version 99"):
        journal.read()


def test_without_room_the_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "copies").write_text("not a directory")
    with pytest.raises(KitError, match="copies"):
        Journal(TARGET, tmp_path / "copies").begin(RECORD)


def test_a_changed_source_contradicts() -> None:
    now = Record({"size": 10, "head": "cd"}, TARGET, {"swap": "copy"}, 0)
    assert contradiction(RECORD, RECORD) is None
    assert contradiction(RECORD, now) == "the source has changed: head was ab, is cd"


def test_other_options_contradict() -> None:
    now = Record(SOURCE, TARGET, {"swap": "recreate"}, 0)
    assert "swap was copy, is recreate" in str(contradiction(RECORD, now))


def test_a_record_that_replaces_another_copys_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut would bring back what promises bytes that were overwritten since."""
    synced: list[int] = []
    monkeypatch.setattr("node.files.os.fsync", synced.append)
    journal = Journal(TARGET, tmp_path)
    journal.begin(RECORD)
    assert not synced
    journal.begin(Record({"size": 11}, TARGET, {}, 0))
    assert len(synced) == 2  # the file, then its directory


def test_one_that_cannot_be_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(_path: Path) -> None:
        raise OSError(30, "Read-only file system")

    journal = Journal(TARGET, tmp_path)
    journal.begin(RECORD)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(KitError, match="Read-only"):
        journal.remove()


def test_a_copy_to_another_target_of_the_same_path_is_found(tmp_path: Path) -> None:
    other = Journal({**TARGET, "size": 30}, tmp_path)
    other.begin(Record(SOURCE, {**TARGET, "size": 30}, {}, 0, "/dev/vg/lv"))
    (tmp_path / "damaged.json").write_text("{")
    ours = Journal(TARGET, tmp_path)
    assert ours.of_another("/dev/vg/lv") == other.path
    assert ours.of_another("/dev/vg/other") is None
    assert other.of_another("/dev/vg/lv") is None
    assert Journal(TARGET, tmp_path / "none").of_another("/dev/vg/lv") is None


def test_a_loop_devices_file_may_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "backing_file").write_bytes(b"/srv/d\xff.img\n")
    assert identity._text(tmp_path / "backing_file") == "/srv/d\udcff.img"
