"""gc removes what killed creates and copies left, and nothing else."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from converter.engine import journal
from converter.engine.journal import Journal, Record
from converter.identity import boot_id, diskseq
from converter.target.device import open_target
from kit import gc
from node.lockfile import is_locked
from tests.system.converter import support as converter
from tests.system.installer import support
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import MIB, Node, output

MACHINES = journal.DIRECTORY


@pytest.fixture
def tiny(node: Node, stub: StubSuite) -> Node:
    node.settings |= support.TINY | stub.settings() | {"CACHE_DIR": str(node.cache)}
    node.disk(support.TINY_DISK)
    return node


def names(out: str) -> list[str]:
    return [line.split(": ")[1] for line in out.splitlines()]


def of(node: Node, out: str) -> list[str]:
    """Of what gc names, what stands in the node's cache: the machine's journals do not count."""
    return [name for name in names(out) if name.startswith(f"{node.cache}/")]


def kill(node: Node, running: support.Create) -> None:
    """Kills a create, and waits until its processes have released their locks."""
    running.signal(signal.SIGKILL, group=True)
    running.wait()
    deadline = time.monotonic() + support.SETTLE_SECONDS
    while any(is_locked(path) for path in node.cache.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def killed_create(node: Node) -> None:
    """One that is killed while it stores its cache, which takes less than a moment here."""
    for _ in range(10):
        running = node.start()
        while not list(node.cache.glob(".cache-*.part")) and running.process.poll() is None:
            time.sleep(0.001)
        if running.process.poll() is None:
            kill(node, running)
        if list(node.cache.glob(".cache-*.part")):
            return
        for path in node.cache.glob("*.zst"):
            path.unlink()
    raise AssertionError(running.log)


def test_what_killed_creates_left(tiny: Node) -> None:
    for _ in range(2):
        running = tiny.start()
        running.wait_for("packages")
        kill(tiny, running)
    killed_create(tiny)
    left = {str(path) for path in tiny.cache.iterdir()}
    assert any(name.endswith(".lock") for name in left)
    out, _ = tiny.kit("gc", "--dry-run")
    assert set(of(tiny, out)) == left and "that was killed" in out
    assert {str(path) for path in tiny.cache.iterdir()} == left
    support.nothing_is_held(tiny)


def test_gc_removes_them_and_names_each(
    tiny: Node, interrupted: Callable[[Path], Path], quiet_journals: Path, tmp_path: Path
) -> None:
    """The program itself, with directories of the test's own in the places of the machine's."""
    killed_create(tiny)
    target = file(tmp_path / "target")
    interrupted(target)
    target.unlink()
    stays = interrupted(file(tmp_path / "other"))
    left = {str(path) for path in tiny.cache.iterdir()}
    assert left
    before = f"mkdir -p {MACHINES}\nmount --bind {quiet_journals} {MACHINES}"
    out, _ = tiny.kit("gc", before=before)
    assert all(line.startswith("removed: ") for line in out.splitlines())
    assert set(of(tiny, out)) == left and list(tiny.cache.iterdir()) == []
    (copy,) = set(names(out)) - left
    assert copy.startswith(f"{MACHINES}/") and list(quiet_journals.iterdir()) == [stays]
    assert tiny.kit("gc", before=before)[0] == ""
    tiny.create().succeeded()


def test_what_a_create_uses_stays(tiny: Node) -> None:
    tiny.settings["GENERATE_CACHE"] = "yes"
    tiny.hook("look", "sleep 1")
    running = tiny.start()
    running.wait_for("packages")
    out, _ = tiny.kit("gc", "--dry-run")
    assert of(tiny, out) == []
    running.wait().succeeded()
    assert [path.suffix for path in tiny.cache.iterdir()] == [".zst"]


def test_what_somebody_has_locked_meanwhile_stays(tiny: Node, quiet_journals: Path) -> None:
    assert quiet_journals.is_dir()
    part = tiny.cache / ".build.abcdefgh.part"
    part.write_bytes(b"x")
    (found,) = gc.leftovers([tiny.cache])
    with part.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert gc.leftovers([tiny.cache]) == []
        assert not found.remove() and part.exists()
    assert found.remove() and not part.exists()


@pytest.fixture
def quiet_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of journals of the test's own."""
    directory = tmp_path / "journals"
    directory.mkdir()
    monkeypatch.setattr(journal, "DIRECTORY", directory)
    return directory


@pytest.fixture
def interrupted(quiet_journals: Path) -> Callable[[Path], Path]:
    """Leaves the journal of an interrupted copy to a target; gives its file."""

    def leave(target: Path) -> Path:
        with open_target(target, size_needed=MIB, allow_file=True, force=True) as there:
            made = Journal(there.identity, quiet_journals)
            made.begin(Record({"x": 1}, there.identity, {}, 0, str(target)))
        return made.path

    return leave


def file(path: Path) -> Path:
    with path.open("wb") as new:
        new.truncate(MIB)
    return path


def test_a_journal_whose_file_is_gone(interrupted: Callable[[Path], Path], tmp_path: Path) -> None:
    target = file(tmp_path / "target")
    left = interrupted(target)
    assert gc.leftovers([]) == []
    target.unlink()
    (found,) = gc.leftovers([])
    assert (
        found.path == left
        and found.what == f"journal of a copy to {target}: the target does not exist"
    )
    assert found.remove() and not left.exists()


def test_a_journal_whose_path_is_another_file_now(
    interrupted: Callable[[Path], Path], tmp_path: Path
) -> None:
    left = interrupted(file(tmp_path / "target"))
    (tmp_path / "target").rename(tmp_path / "elsewhere")
    file(tmp_path / "target")
    (found,) = gc.leftovers([])
    assert found.path == left and "that is another target now" in found.what


def test_a_file_system_that_is_not_mounted_may_have_the_file(
    interrupted: Callable[[Path], Path], tmp_path: Path
) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    output("mount", "-t", "tmpfs", "tmpfs", place)
    try:
        (place / "sub").mkdir()
        target = file(place / "sub/target")
        left = interrupted(target)
        output("mount", "-t", "tmpfs", "tmpfs", place)  # hides it, as an unmounting would
        try:
            assert gc.leftovers([]) == []
            (place / "sub").mkdir()
            file(target)
            assert gc.leftovers([]) == []
        finally:
            output("umount", place)
        (place / "sub/target").unlink()
        (place / "sub").rmdir()
        assert [each.path for each in gc.leftovers([])] == [left]
    finally:
        output("umount", place)


def test_the_file_of_a_loop_device_may_be_attached_again(
    interrupted: Callable[[Path], Path], tmp_path: Path
) -> None:
    with converter.target(tmp_path / "disk", MIB) as device:
        interrupted(device)
        assert gc.leftovers([]) == []
    with converter.target(tmp_path / "other", MIB):
        assert gc.leftovers([]) == []


def test_a_device_that_only_its_number_tells(quiet_journals: Path, tmp_path: Path) -> None:
    """Such as DRBD's."""
    with converter.target(tmp_path / "disk", MIB) as device:
        number = device.stat().st_rdev
        here = {"number": number, "diskseq": diskseq(number), "boot": boot_id(), "size": MIB}
        for changed, gone in (
            ({}, None),
            ({"diskseq": "0"}, "that device is gone"),
            ({"boot": "earlier"}, "the node was booted since"),
        ):
            target = here | changed
            made = Journal(target, quiet_journals)
            made.begin(Record({"x": 1}, target, {}, 0, str(device)))
            whats = [found.what.rpartition(": ")[2] for found in gc.leftovers([])]
            assert whats == ([gone] if gone else [])
            made.path.unlink()


def test_a_volume_that_is_not_active_is_not_gone(
    quiet_journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test machines have no device mapper, so the answer of lvs(8) is faked."""
    target = {"dm": "LVM-aaaa", "size": MIB}
    made = Journal(target, quiet_journals)
    made.begin(Record({"x": 1}, target, {}, 0, "/dev/vg/not-active"))
    for uuids, gone in (({"LVM-aaaa"}, False), (None, False), ({"LVM-bbbb"}, True)):
        monkeypatch.setattr(gc, "_volumes", lambda uuids=uuids: uuids)
        assert bool(gc.leftovers([])) == gone


def test_half_a_journal(quiet_journals: Path) -> None:
    half = quiet_journals / "x.json.new"
    half.write_bytes(b"{")
    (quiet_journals / "damaged.json").write_bytes(b"{")
    assert gc.leftovers([]) == []
    os.utime(half, (1, 1))
    assert [each.path for each in gc.leftovers([])] == [half]


def test_for_programs(tiny: Node) -> None:
    (tiny.cache / ".build.abcdefgh.part").write_bytes(b"x")
    found = json.loads(tiny.kit("gc", "--dry-run", "--json")[0])
    ours = [each for each in found if each["path"].startswith(str(tiny.cache))]
    assert [each["removed"] for each in ours] == [False]
