"""No name of a file takes the place of another one."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from backup.dumps.naming import Naming
from backup.dumps.staging import Staging
from backup.streams.stream import StreamError


@pytest.mark.parametrize("kind", ["single", "shared"])
def test_a_name_that_a_directory_has_twice_is_refused(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with closing(Staging(tmp_path)) as made:
            for number, way in ((12, "single"), (13, kind)):
                path = made.path(way, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"inode {number}")
            naming = Naming(made, tmp_path, frozenset())
            assert naming._place(12, b"name", directory)
            with pytest.raises(StreamError, match="'name' twice"):
                naming._place(13, b"name", directory)
            assert not naming._place(14, b"other", directory)
        assert [path.read_text() for path in place.iterdir()] == ["inode 12"]
    finally:
        os.close(directory)
