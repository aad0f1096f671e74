import fcntl
import os
from pathlib import Path

import pytest

from node.lockfile import locked, part_of


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
