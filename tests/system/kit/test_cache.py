"""Creates use the caches that administrators and timers make."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.system.installer import support
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import Node


@pytest.fixture
def tiny(node: Node, stub: StubSuite) -> Node:
    node.settings |= support.TINY | stub.settings() | {"CACHE_DIR": str(node.cache)}
    node.disk(support.TINY_DISK)
    return node


def kept(node: Node) -> list[Path]:
    return sorted(node.cache.iterdir())


@pytest.mark.quick
def test_a_create_takes_what_was_built(tiny: Node) -> None:
    tiny.kit("cache", "build", "bookworm")
    (cache,) = kept(tiny)
    outcome = tiny.create().succeeded()
    assert f"cache: {cache.name}, made by" in outcome.log
    assert kept(tiny) == [cache]
    support.nothing_is_held(tiny)


def test_refresh_replaces_it_and_keeps_when_it_was_used(tiny: Node) -> None:
    tiny.kit("cache", "build", "bookworm")
    (cache,) = kept(tiny)
    os.utime(cache, (1_600_000_000, 1_600_000_000))
    before = cache.stat()
    with cache.open("rb") as held:
        _, log = tiny.kit("cache", "refresh", "bookworm")
        assert os.fstat(held.fileno()).st_ino == before.st_ino  # whoever read it goes on
    after = cache.stat()
    assert kept(tiny) == [cache] and "stored as" in log
    assert after.st_ino != before.st_ino
    assert after.st_mtime > time.time() - 3600
    assert after.st_atime == before.st_atime
    tiny.create().succeeded()


def test_refresh_says_what_it_cannot_decide(tiny: Node) -> None:
    """The timer's service must not succeed where it did nothing."""
    del tiny.settings["MIRROR"]  # else the suite is there
    assert "variant buster: left out: " in tiny.kit("cache", "refresh")[1]
    tiny.settings["CACHE_SIZE"] = "much"
    _, err = tiny.kit("cache", "refresh", exit_code=3)
    assert err.splitlines()[-2].startswith("error: ") and "CACHE_SIZE" in err


def test_build_leaves_alone_what_is_there(tiny: Node) -> None:
    tiny.kit("cache", "build", "bookworm")
    (cache,) = kept(tiny)
    before = cache.stat()
    _, log = tiny.kit("cache", "build", "bookworm")
    assert "its cache exists" in log
    assert cache.stat().st_ino == before.st_ino


def test_a_mirror_that_is_gone_leaves_the_old_one(tiny: Node, stub: StubSuite) -> None:
    tiny.kit("cache", "build", "bookworm")
    (cache,) = kept(tiny)
    inode = cache.stat().st_ino
    hidden = stub.archive.with_name("hidden")
    (stub.archive / "dists").rename(hidden)
    try:
        _, log = tiny.kit("cache", "refresh", "bookworm", exit_code=3)
    finally:
        hidden.rename(stub.archive / "dists")
    assert log.splitlines()[-2].startswith("error: suite bookworm: the mirror")
    assert log.splitlines()[-1].startswith("hint: ")
    assert kept(tiny) == [cache] and cache.stat().st_ino == inode


def test_a_build_on_a_full_file_system_says_so(tiny: Node) -> None:
    small = f"mount -t tmpfs -o size=2m,mode=700 tmpfs {tiny.cache}"
    _, err = tiny.kit("cache", "build", "bookworm", exit_code=3, before=small)
    error, hint = err.splitlines()[-2:]
    assert error.startswith(f"error: cache directory {tiny.cache}: its file system became full: ")
    assert "make room there" in hint
    assert kept(tiny) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_nothing(tiny: Node, number: signal.Signals) -> None:
    with tiny.start_kit("cache", "build", "bookworm") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "bootstrap" in line or "packages" in line:
                break
        os.killpg(process.pid, number)
        process.communicate(timeout=60)
    support.nothing_is_held(tiny)
    left = [path for path in kept(tiny) if path.suffix == ".part"]
    assert len(left) <= 1
    assert number == signal.SIGKILL or not left
    tiny.kit("cache", "build", "bookworm")
    tiny.create().succeeded()
    assert [path.suffix for path in kept(tiny)] == [".zst"]


def test_list_says_whose_they_are(tiny: Node) -> None:
    tiny.kit("cache", "build", "bookworm")
    (cache,) = kept(tiny)
    other = tiny.cache / "cache-sid-amd64-0123456789abcdef.tar.zst"
    other.write_bytes(b"")
    out, _ = tiny.kit("cache", "list", "--json")
    found = {each["path"]: each for each in json.loads(out)}
    assert "bookworm" in found[str(cache)]["variants"]
    assert found[str(cache)]["bytes"] == cache.stat().st_size
    assert found[str(other)]["variants"] == []
    out, _ = tiny.kit("cache", "list")
    assert "for no current variant" in out and out.splitlines()[-1].startswith("2 kept, ")


def test_prune(tiny: Node) -> None:
    tiny.settings["CLEAN_CACHE"] = "14"
    tiny.kit("cache", "build", "bookworm")
    (cache,) = kept(tiny)
    old = tiny.cache / "cache-sid-amd64-0123456789abcdef.tar.zst"
    old.write_bytes(b"x")
    os.utime(old, (1_600_000_000, 1_600_000_000))
    out, _ = tiny.kit("cache", "prune")
    assert out == f"removed {old}, 1 B\n" and kept(tiny) == [cache]
    with cache.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)  # as a create has it
        assert tiny.kit("cache", "prune", "--all")[0] == ""
        assert "in use" in tiny.kit("cache", "list")[0]
    out, _ = tiny.kit("cache", "prune", "--all")
    assert out.startswith(f"removed {cache}, ") and kept(tiny) == []


@pytest.mark.parametrize("options", [(), ("--all",)])
def test_prune_on_a_read_only_file_system(options: tuple[str, ...], tiny: Node) -> None:
    (tiny.cache / "cache-sid-amd64-0123456789abcdef.tar.zst").write_bytes(b"x")
    read_only = f"mount --bind -o ro {tiny.cache} {tiny.cache}"
    out, err = tiny.kit("cache", "prune", *options, exit_code=3, before=read_only)
    assert out == "" and err.startswith(f"error: caches: not removed: {tiny.cache}")
    assert len(kept(tiny)) == 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_timer_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """Its command is looked up, too, so it is one that is there."""
    for unit in (support.TOP / "systemd").iterdir():
        program = str(support.TOP / "kit/instance_kit.py")
        text = unit.read_text().replace("/usr/sbin/instance-kit", program)
        (tmp_path / unit.name).write_text(text)
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *tmp_path.glob("*.*")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "")
    # It complains of other units of the machine, too.
    assert "ganeti-instance-kit" not in ran.stderr
