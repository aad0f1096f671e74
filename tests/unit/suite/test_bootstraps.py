import fcntl
import os
import time
from pathlib import Path

import pytest

from tests import bootstraps

TOP = Path(__file__).parents[3]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SANDBOX_CACHE", raising=False)
    monkeypatch.setattr(bootstraps, "PLACE", tmp_path / "kept")
    return tmp_path / "kept"


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def test_the_code_of_a_bootstrap_is_what_makes_and_keeps_it() -> None:
    found = {str(path.relative_to(TOP)) for path in bootstraps.modules(TOP)}
    of_bootstrap = ("archive", "cache", "plan", "per_guest/scrub", "mirrors")
    parts = ("debootstrap", "guest_tree", *(f"bootstrap/{name}" for name in of_bootstrap))
    assert found >= {f"installer/{part}.py" for part in parts} | {
        "node/run.py",
        "node/isolation/nosync.py",
    }
    assert not [path for path in found if "hooks" in path or path.startswith("converter")]


def test_other_code_other_bootstraps(tmp_path: Path) -> None:
    package = tmp_path / "installer/bootstrap"
    package.mkdir(parents=True)
    (package / "cache.py").write_text("from installer.bootstrap import engine\nimport os\n")
    (package / "engine.py").write_text("ARGUMENTS = 1\n")
    (package / "hook.py").write_text("")
    first = bootstraps.code_digest(tmp_path)
    (package / "hook.py").write_text("CHANGED = 1\n")
    assert bootstraps.code_digest(tmp_path) == first
    (package / "engine.py").write_text("ARGUMENTS = 2\n")
    assert bootstraps.code_digest(tmp_path) != first


def test_what_is_old_goes(place: Path) -> None:
    mine = bootstraps.directory()
    mine.mkdir(parents=True)
    for name, days in (("0" * 16, 6.0), ("1" * 16, 8.0)):
        (place / name).mkdir()
        (place / name / "file").touch()
        age(place / name, days)
    old = mine / f"cache-bookworm-amd64-{'0' * 16}.tar.zst"
    young = mine / f"cache-bookworm-amd64-{'1' * 16}.tar.zst"
    for path, days in ((old, 8.0), (young, 6.0)):
        path.touch()
        age(path, days)
    held = bootstraps.hold()
    assert held is not None
    os.close(held)
    assert sorted(place.iterdir()) == sorted([place / ("0" * 16), mine])
    assert list(mine.iterdir()) == [young]


def test_what_another_run_holds_stays(place: Path) -> None:
    mine = bootstraps.directory()
    other = place / ("0" * 16)
    old = mine / f"cache-bookworm-amd64-{'0' * 16}.tar.zst"
    for path in (mine, other):
        path.mkdir(parents=True)
    old.touch()
    descriptors = [os.open(path, os.O_RDONLY) for path in (mine, other)]
    for descriptor in descriptors:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    for path in (old, other):
        age(path, 8)
    held = bootstraps.hold()
    assert old.exists() and other.exists()
    for descriptor in (*descriptors, held):
        assert descriptor is not None
        os.close(descriptor)


def test_a_directory_of_the_callers_is_the_callers(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SANDBOX_CACHE", str(tmp_path / "chosen"))
    assert bootstraps.directory() == tmp_path / "chosen"
    assert bootstraps.hold() is None
    assert not place.exists()
