"""The checks of paths are the same for sources and targets of every format."""

import errno
import os
import socket
from pathlib import Path

import pytest

from converter import paths, sources
from converter.cli import images
from converter.target import device
from node.errors import KitError

NAMES = [
    ("", "an empty name", "not set"),
    (".", "a directory, neither", "name an image"),
    ("fifo", "a named pipe, neither", "name an image"),
    ("to-fifo", "a named pipe, neither", "name an image"),
    ("socket", "a socket, neither", "name an image"),
    ("/dev/zero", "a character device, neither", "name an image"),
    ("loop", "Too many levels of symbolic links", "point to each other"),
    ("loop/a", "Too many levels of symbolic links", "point to each other"),
    ("dangling", "a symbolic link to nowhere, which does not exist", "correct the link"),
    ("dangling/", "a symbolic link to nowhere, which does not exist", "correct the link"),
    ("nodir/", "no such directory", "slash at its end"),
    ("file/", "Not a directory", "must be a directory"),
    ("file/a", "Not a directory", "must be a directory"),
    ("n" * 300, "File name too long", "255 bytes"),
    ("\u00fc" * 150, "File name too long", "255 bytes"),  # 300 bytes
    ("d/" * 2100, "File name too long", "255 bytes"),
    ("a\0b", "null", "name"),
]


@pytest.fixture(autouse=True)
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with names that are no images."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop2")
    (tmp_path / "loop2").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "to-fifo").symlink_to("fifo")
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    return tmp_path


def require_said(error: KitError, role: str, name: str, words: str, hint: str) -> None:
    assert error.message.startswith(f"{role} {name or chr(39) * 2}: "), error.message
    assert words in error.message
    assert error.hint is not None
    assert (hint if hint != "name an image" else f"as the {role}") in error.hint or name == "a\0b"


@pytest.mark.parametrize("image_format", [None, "qcow2", "raw", "vmdk", "vpc"])
@pytest.mark.parametrize(("name", "words", "hint"), NAMES, ids=range(len(NAMES)))
def test_sources(image_format: str | None, name: str, words: str, hint: str) -> None:
    with pytest.raises(KitError) as caught, sources.open_source(name, image_format):
        pass
    require_said(caught.value, "source", name, words, hint)


@pytest.mark.parametrize(("name", "words", "hint"), NAMES, ids=range(len(NAMES)))
def test_targets(odd: Path, name: str, words: str, hint: str) -> None:
    listed = sorted(odd.iterdir())
    for allow_file in (True, False):
        with (
            pytest.raises(KitError) as caught,
            device.open_target(name, size_needed=1, force=True, allow_file=allow_file),
        ):
            pass
        require_said(caught.value, "target", name, words, hint)
    with pytest.raises(KitError) as caught, device.open_target_read_only(name, size_needed=1):
        pass
    require_said(caught.value, "target", name, words, hint)
    assert sorted(odd.iterdir()) == listed
    assert (odd / "file").read_bytes() == b"x"


def test_what_is_not_there_may_be_made() -> None:
    assert paths.found_or_none("new", "target") is None
    for role in ("source", "target"):
        with pytest.raises(KitError, match=f"{role} new: No such file or directory"):
            paths.found("new", role)


def test_names_that_are_no_text(odd: Path) -> None:
    name = os.fsdecode(b"b\xfcro")
    (odd / name).write_bytes(b"x")
    found = paths.found(name, "source")
    assert (found.path, found.status.st_size) == (Path(name), 1)
    with paths.open_source_file(name, name) as fd:
        assert os.read(fd, 2) == b"x"
        assert os.get_blocking(fd)


def test_the_appliance_gets_no_name_that_it_does_not_take(odd: Path) -> None:
    (odd / "b\udcfcro").write_bytes(bytes(4096))
    with pytest.raises(KitError, match="libguestfs supports only names in UTF-8"):
        images.report([str(odd / "b\udcfcro")], "raw", deep=True, as_json=False)


def test_what_takes_the_place_of_a_source_is_not_waited_for(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A named pipe would be: it has no writer."""
    there = paths.found("file", "source")
    (odd / "file").unlink()
    os.mkfifo(odd / "file")
    monkeypatch.setattr(paths, "found", lambda *_: there)
    with (
        pytest.raises(KitError, match="it was replaced by something else"),
        paths.open_source_file("file", "file"),
    ):
        pass


def test_a_link_is_shown_with_what_it_leads_to(odd: Path) -> None:
    (odd / "link").symlink_to("file")
    assert paths.named(odd / "link") == f"{odd}/link ({odd}/file)"
    assert paths.named(odd / "file") == f"{odd}/file"


def test_a_secondary_of_drbd_is_called_one(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def opened(path: Path, flags: int) -> int:
        if path == odd / "file":  # no unit test makes device nodes
            raise OSError(errno.EMEDIUMTYPE, os.strerror(errno.EMEDIUMTYPE))
        return real(path, flags)

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(KitError, match="a DRBD device that is Secondary on this node") as caught:
        sources.open_source(str(odd / "file"), None).__enter__()
    assert caught.value.hint is not None and "primary node" in caught.value.hint
