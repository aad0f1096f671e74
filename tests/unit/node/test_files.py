"""Files that are read whole, and what only looks like one is refused at once."""

import os
from pathlib import Path

import pytest

from installer import inputs
from installer.settings import Settings, load
from node import files
from node.devices.claim import disk_size
from node.errors import KitError


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_text_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\r\ntwo\rthr\xe9\n")
    assert files.read_text(path, errors="replace") == "one\ntwo\nthr\ufffd\n"
    with pytest.raises(UnicodeDecodeError):
        files.read_text(path)
    assert files.read_bytes(path) == path.read_bytes()


def test_what_is_no_file(tmp_path: Path, fifo: Path) -> None:
    with pytest.raises(OSError, match="a FIFO, not a file"):
        files.read_bytes(fifo)
    with pytest.raises(OSError, match="a directory, not a file"):
        files.read_bytes(tmp_path)
    with pytest.raises(OSError, match="a device, not a file"):
        files.read_bytes(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "missing")
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    assert files.read_bytes(link) == b""
    with pytest.raises(OSError, match="symbolic links"):
        files.open_regular(link, follow=False)


def test_a_file_without_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, files.LIMIT + 1)
    with pytest.raises(OSError, match="File too large"):
        files.read_bytes(path)


def test_no_settings_file_is_waited_for(tmp_path: Path, fifo: Path) -> None:
    with pytest.raises(KitError, match=f"{fifo}: a FIFO, not a file"):
        load.load(None, {}, defaults_file=fifo, os_dir=tmp_path)
    defaults = tmp_path / "defaults"
    defaults.write_text(f'VARIANTS_DIR="{tmp_path}"\n')
    os.mkfifo(tmp_path / "web.conf")
    with pytest.raises(KitError, match=r"web\.conf: a FIFO, not a file"):
        load.load("web", {}, defaults_file=defaults, os_dir=tmp_path)
    os.mkfifo(tmp_path / "variants.list")
    with pytest.raises(KitError, match="does not publish it"):
        load.load("other", {}, defaults_file=defaults, os_dir=tmp_path)


def test_keys_and_disks_are_not_waited_for(tmp_path: Path, fifo: Path) -> None:
    settings = Settings(authorized_keys="/fifo")
    with pytest.raises(KitError, match=f"authorized keys {fifo}: a FIFO"):
        inputs._authorized_keys(settings, tmp_path)
    with pytest.raises(OSError, match="neither a block device nor a regular file"):
        disk_size(fifo)
