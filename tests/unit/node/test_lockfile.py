import errno
import fcntl
import os
from pathlib import Path

import pytest

from node import lockfile
from node.lockfile import give_name, locked, part_of, remove_parts_of


def test_a_part_goes_when_it_is_not_renamed(tmp_path: Path) -> None:
    with part_of(tmp_path / "cache") as (part, _):
        assert part.parent == tmp_path and part.name.startswith(".cache.")
        assert part.stat().st_mode & 0o777 == 0o600
        other = os.open(part, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    assert list(tmp_path.iterdir()) == []


def test_a_renamed_part_stays(tmp_path: Path) -> None:
    with part_of(tmp_path / "cache") as (part, descriptor):
        os.write(descriptor, b"whole")
        part.rename(tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("name", ["x" * 255, "\u20ac" * 85, "\udcff" * 255])
def test_a_long_name_has_parts(name: str, tmp_path: Path) -> None:
    with part_of(tmp_path / name) as (part, _):
        left = part.with_name(f"{part.name[:-13]}abcdefgh.part")
        left.touch()
        remove_parts_of(tmp_path / name)
        assert list(tmp_path.iterdir()) == [part]


def test_only_parts_are_removed(tmp_path: Path) -> None:
    part, foreign = tmp_path / ".cache.a_0bcdef.part", tmp_path / ".cache.old.part"
    part.touch()
    foreign.touch()
    remove_parts_of(tmp_path / "cache")
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_lock_goes_with_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", "nobody"):
        assert (tmp_path / "lock").exists()
    assert not (tmp_path / "lock").exists()


def test_a_holder_that_was_killed_when_it_had_given_up_is_succeeded(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", "nobody") as lock:
        lock.give_up()
        (tmp_path / "left").hardlink_to(tmp_path / "lock")
    (tmp_path / "left").rename(tmp_path / "lock")
    with locked(tmp_path / "lock", "nobody") as lock:
        assert not lock.given_up
        assert (tmp_path / "lock").stat().st_size == 0


def test_a_file_gets_its_name_unless_something_has_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with part_of(path) as (part, descriptor):
        os.write(descriptor, b"new")
        give_name(part, path, replace=False)
    assert path.read_bytes() == b"new"
    with part_of(path) as (part, _), pytest.raises(FileExistsError):
        give_name(part, path, replace=False)
    assert path.read_bytes() == b"new"
    with part_of(path) as (part, _):
        give_name(part, path, replace=True)
    assert path.read_bytes() == b"" and list(tmp_path.iterdir()) == [path]


def test_a_file_gets_its_name_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the test machines have none; there, renameat2(2) has no flags."""

    def refuse(_old: Path, new: Path) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(new))

    monkeypatch.setattr(lockfile, "rename_new", refuse)
    path = tmp_path / "file"
    with part_of(path) as (part, _):
        give_name(part, path, replace=False)
    with part_of(path) as (part, _), pytest.raises(FileExistsError):
        give_name(part, path, replace=False)
    assert list(tmp_path.iterdir()) == [path]


def test_parts_of_dead_makers_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "a[b]"
    other = tmp_path / ".ab.x2345678.part"
    for left in (other, tmp_path / ".a[b].x2345678.part"):
        left.write_bytes(b"x")
    with part_of(path) as (part, _):
        remove_parts_of(path)
        assert sorted(tmp_path.iterdir()) == sorted([other, part])
