"""The directory beside a destination in which a copy out of a guest is made."""

from pathlib import Path

import pytest

from kit.rescue.copy_out import _part_beside


@pytest.mark.parametrize("name", ["data", "x" * 255])
def test_it_replaces_those_of_killed_copies_and_nothing_else(name: str, tmp_path: Path) -> None:
    for left in ("abcdefgh", "old"):
        (tmp_path / f".{name[:200]}.{left}.part").mkdir()
        (tmp_path / f".{name[:200]}.{left}.part/content").touch()
    foreign = tmp_path / f".{name[:200]}.old.part"
    with _part_beside(tmp_path / name) as part:
        assert sorted(tmp_path.iterdir()) == sorted([foreign, part.path])
    assert list(tmp_path.iterdir()) == [foreign]
