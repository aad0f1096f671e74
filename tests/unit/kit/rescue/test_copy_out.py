"""The directory beside a destination in which a copy out of a guest is made."""

import os
import threading
from pathlib import Path

import pytest

from kit.rescue.copy_out import _part_beside, _receive_file


@pytest.mark.parametrize("name", ["data", "x" * 255])
def test_it_replaces_those_of_killed_copies_and_nothing_else(name: str, tmp_path: Path) -> None:
    for left in ("abcdefgh", "old"):
        (tmp_path / f".{name[:200]}.{left}.part").mkdir()
        (tmp_path / f".{name[:200]}.{left}.part/content").touch()
    foreign = tmp_path / f".{name[:200]}.old.part"
    with _part_beside(tmp_path / name) as part:
        assert sorted(tmp_path.iterdir()) == sorted([foreign, part.path])
    assert list(tmp_path.iterdir()) == [foreign]


@pytest.mark.parametrize("end", [b"end", b""])
def test_zeros_become_holes(end: bytes, tmp_path: Path) -> None:
    content = b"begin" + bytes(8 << 20) + end
    reading, writing = os.pipe()

    def send() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(content)

    about = {
        "kind": "file",
        "size": len(content),
        "owner": [os.getuid(), os.getgid()],
        "mode": 0o600,
        "times": [1, 2],
        "attributes": {},
    }
    sender = threading.Thread(target=send)
    sender.start()
    place = tmp_path / "file"
    _receive_file(about, place, reading, None)  # type: ignore[arg-type]
    sender.join()
    os.close(reading)
    assert place.read_bytes() == content
    assert place.stat().st_blocks * 512 < 1 << 20
