"""Opening a disk for us alone."""

from pathlib import Path

import pytest

from node import processes
from node.devices import claim, holders, settling
from node.errors import KitError


def test_a_swap_file_is_in_use_where_its_file_system_takes_writes_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc").mkdir()
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    monkeypatch.setattr(holders, "SYS", tmp_path / "sys")
    path = tmp_path / "swap"
    path.touch()  # like XFS, no file system minds os.write(fd, b"") to what is no swap
    (tmp_path / "proc/swaps").write_text(f"Filename Type\n{path} file 8 0 -2\n")
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 0.0)
    with pytest.raises(KitError, match="in use: active as swap"), claim.claimed(path):
        pass
    (tmp_path / "proc/swaps").write_text("Filename Type\n")
    with claim.claimed(path) as backing:
        assert backing.path == path
