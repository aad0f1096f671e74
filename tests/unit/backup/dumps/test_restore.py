"""What becomes of a disk when an import of a dump fails late."""

from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backup import import_
from backup.dumps import restore
from backup.options import ImportOptions
from backup.streams.stream import StreamError
from converter.target.device import Target
from node.errors import KitError
from tests.unit.backup.disks.test_held_back import MIB, Disk

OPTIONS = ImportOptions("/dev/web", "import of disk 0 of web", "stdin", "web-disk0")
FULL = KitError("import of disk 0 of web: the disk is too small", hint="give it more")


def test_a_disk_that_cannot_be_taken_back_does_not_hide_the_first_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_options: ImportOptions) -> AbstractContextManager[Target]:
        raise KitError("target /dev/web: in use", hint="fuser /dev/web")

    monkeypatch.setattr(restore, "_opened", refused)
    restore._without_boot_loader(OPTIONS)
    assert "the disk is whole" in caplog.text and "/dev/web: in use" in caplog.text


@pytest.mark.parametrize(
    ("error", "has_ended", "is_kept"),
    [(FULL, True, True), (FULL, False, False), (StreamError("it has no root"), True, False)],
)
def test_a_disk_that_may_be_the_only_copy_is_kept(
    error: Exception, has_ended: bool, is_kept: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(import_, "HEADS", tmp_path / "heads")
    disk = Disk(b"\xa5" * 4 * MIB)
    reader: Any = SimpleNamespace(has_ended=has_ended)
    with suppress(type(error)), restore._spoiled_by_failure(OPTIONS, reader, disk.as_target):
        raise error
    kept = [path.read_bytes() for path in (tmp_path / "heads").glob("*")]
    assert kept == ([b"\xa5" * MIB] if is_kept else [])
    assert disk.content[:MIB] == bytes(MIB)
    assert (disk.content[MIB:] == b"\xa5" * 3 * MIB) is is_kept
