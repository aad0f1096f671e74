"""A GPT that `import check --fix` adapts to a larger disk."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from converter.contents.partitions import table
from importer.check import command
from node.errors import KitError
from tests.unit.converter.tables import gpt, reader

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk of 5 MiB with the GPT of one of 4 MiB; who uses it is not looked up."""
    content = bytearray(4 * MIB)
    gpt(content, [(256, 300), (301, 600)])
    path = tmp_path / "disk"
    path.write_bytes(content.ljust(5 * MIB, b"\0"))

    @contextmanager
    def claimed(path: Path, **_: Any) -> Iterator[SimpleNamespace]:
        with path.open("rb+") as file:
            yield SimpleNamespace(fd=file.fileno(), size=5 * MIB)

    monkeypatch.setattr(command, "claimed", claimed)
    return path


def test_the_backup_goes_to_the_end_and_is_flushed(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.pread(fd, 8, 5 * MIB - 512)))
    command._adapt_table(0, disk)
    assert flushed == [b"EFI PART"]
    found = table(reader(disk.read_bytes()), 5 * MIB)
    assert found is not None and found.warnings == () and len(found.partitions) == 2


def test_a_disk_that_cannot_be_written_is_named(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(KitError) as caught:
        command._adapt_table(1, disk)
    assert caught.value.message == f"GPT of disk 1 ({disk}): Input/output error"
    assert "check --fix again" in caught.value.hint
