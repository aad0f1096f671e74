"""Files that are read and written whole; anything but a regular file is refused at once."""

import os
import stat
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
    with pytest.raises(KitError, match="does not list it"):
        load.load("other", {}, defaults_file=defaults, os_dir=tmp_path)


def test_keys_and_disks_are_not_waited_for(tmp_path: Path, fifo: Path) -> None:
    settings = Settings(authorized_keys="/fifo")
    with pytest.raises(KitError, match=f"authorized keys {fifo}: a FIFO"):
        inputs._authorized_keys(settings, tmp_path)
    with pytest.raises(OSError, match="neither a block device nor a regular file"):
        disk_size(fifo)


def test_a_file_is_written_whole_over_what_a_killed_call_left(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "file", tmp_path / "elsewhere"
    (tmp_path / "file.new").symlink_to(elsewhere)
    path.symlink_to(elsewhere)
    files.write_whole(path, b"one", mode=0o666)
    assert path.read_bytes() == b"one" and not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)  # no unit test fills a disk
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(path, b"new", durable=True)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_durable_file_is_flushed_before_it_has_its_name_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    seen = []

    def flushed(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append((is_directory, path.exists(), os.lseek(descriptor, 0, os.SEEK_END)))

    monkeypatch.setattr(os, "fsync", flushed)
    files.write_whole(path, b"one", durable=True)
    assert [found[:2] for found in seen] == [(False, False), (True, True)]
    assert seen[0][2] == len(b"one")
    files.write_whole(path, b"two")
    assert len(seen) == 2


def test_all_is_written_even_if_the_kernel_takes_less_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"0123456789")
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:2], at))
    with path.open("rb+") as file:
        files.write_at(file.fileno(), b"abcde", 3)
    assert path.read_bytes() == b"012abcde89"
