"""Where an export goes, and what of it is flushed at the end."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from backup.streams.pipes import Output


@pytest.mark.parametrize(
    ("kind", "is_flushed"), [(stat.S_IFREG, True), (stat.S_IFBLK, True), (stat.S_IFCHR, False)]
)
def test_files_and_disks_are_flushed(
    kind: int, is_flushed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    with (tmp_path / "file").open("wb") as file:
        monkeypatch.setattr(os, "fstat", lambda _fd: SimpleNamespace(st_mode=kind | 0o600))
        monkeypatch.setattr(os, "fsync", flushed.append)
        output = Output(file.fileno())
        output.write(b"stream", lambda: None)
        output.close()
        monkeypatch.undo()
        assert flushed == ([file.fileno()] if is_flushed else [])
