"""A create may be stopped or killed at any moment: nothing stays, and another one succeeds."""

import random
import signal
import time
from pathlib import Path

import pytest

from tests.system.installer import support
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import Node

# The same moments in each run, so that a failure can be seen again: words of the log, and how many
# seconds after them.
RANDOM = random.Random(20)
IN_THE_BOOTSTRAP = (
    *("engine: ", "extracting archives", "installing essential packages"),
    "installing remaining packages",
)
IN_THE_SETUP = (
    "hook host_keys",
    "hook grub",
    "hook swap",
    "flush to disk",
)


def moments(*words: str, within: float) -> list[tuple[str, float]]:
    return [(text, round(RANDOM.uniform(0, within), 2)) for text in words]


@pytest.fixture
def tiny(node: Node, stub: StubSuite) -> Node:
    """A node that makes the smallest of guests, with a cache of its own."""
    node.settings |= support.TINY | stub.settings() | {"CACHE_DIR": str(node.cache)}
    node.disk(support.TINY_DISK)
    return node


def stop(
    node: Node, number: signal.Signals, *, after: str, seconds: float = 0, group: bool
) -> support.Outcome:
    """Sends a signal so many seconds after the log has this text."""
    running = node.start()
    running.wait_for(after)
    time.sleep(seconds)
    running.signal(number, group=group)
    return running.wait()


def caches(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stopped_while_a_hook_runs(tiny: Node, number: signal.Signals, group: bool) -> None:
    hook = tiny.hook("slow", 'chroot "$TARGET" sh -c "echo begun; sleep 60"')
    outcome = stop(tiny, number, after="begun", group=group)
    outcome.failed(f"stopped by {number.name}", exit_code=128 + number)
    assert outcome.seconds < 30
    support.nothing_is_held(tiny)
    hook.unlink()
    tiny.create().succeeded()


def test_a_signal_that_was_ignored_at_the_start_does_not_stop_it(tiny: Node) -> None:
    """As after nohup(1)."""
    sent = tiny.directory / "sent"
    tiny.hook("slow", f'echo begun; until [ -e "{sent}" ]; do sleep 0.1; done')
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        running = tiny.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    running.wait_for("begun")
    running.signal(signal.SIGHUP, group=True)
    sent.touch()
    running.wait().succeeded()


@pytest.mark.parametrize("after", IN_THE_BOOTSTRAP)
def test_stopped_while_the_cache_is_made(tiny: Node, after: str) -> None:
    outcome = stop(tiny, signal.SIGTERM, after=after, group=True)
    outcome.failed("stopped by SIGTERM", exit_code=143)
    support.nothing_is_held(tiny)
    assert not caches(tiny.cache)
    tiny.create().succeeded()


@pytest.mark.parametrize(("after", "seconds"), moments("disks", *IN_THE_BOOTSTRAP, within=0.2))
def test_killed_while_the_cache_is_made(tiny: Node, after: str, seconds: float) -> None:
    outcome = stop(tiny, signal.SIGKILL, after=after, seconds=seconds, group=True)
    assert outcome.exit_code == -signal.SIGKILL, outcome.log
    support.nothing_is_held(tiny)
    whole = [name for name in caches(tiny.cache) if name.endswith(".zst") and name[0] != "."]
    assert not whole or "stored as" in outcome.log
    tiny.create().succeeded()
    assert not [name for name in caches(tiny.cache) if not name.endswith(".tar.zst")]


def test_killed_while_the_cache_is_packed(tiny: Node) -> None:
    def parts() -> list[Path]:
        return [path for path in tiny.cache.iterdir() if path.name.endswith(".part")]

    tiny.settings["EXTRA_PKGS"] = "stub-large"
    running = tiny.start()
    running.wait_for("\n  cache\n")
    while not any(part.stat().st_size for part in parts()):
        assert running.process.poll() is None, running.log
        time.sleep(0.02)
    running.signal(signal.SIGKILL, group=True)
    outcome = running.wait()
    assert outcome.exit_code == -signal.SIGKILL, outcome.log
    support.nothing_is_held(tiny)
    [part] = parts()
    assert not [name for name in caches(tiny.cache) if name.endswith(".zst")]
    tiny.settings.pop("EXTRA_PKGS")
    tiny.create().succeeded()
    assert part.name not in caches(tiny.cache)


@pytest.mark.parametrize(("after", "seconds"), moments(*["unpacking of the cache"] * 2, within=0.5))
def test_killed_while_the_cache_is_unpacked(
    tiny: Node, stub: StubSuite, after: str, seconds: float
) -> None:
    tiny.settings |= stub.settings() | {"EXTRA_PKGS": "stub-large"}  # it takes a second to unpack
    tiny.create().succeeded()  # from now on there is a cache
    outcome = stop(tiny, signal.SIGKILL, after=after, seconds=seconds, group=True)
    assert outcome.exit_code == -signal.SIGKILL, outcome.log
    support.nothing_is_held(tiny)
    tiny.create().succeeded()


@pytest.mark.parametrize(("after", "seconds"), moments(*IN_THE_SETUP, within=0.5))
def test_killed_while_the_guest_is_set_up(node: Node, after: str, seconds: float) -> None:
    """The guest is Debian, whose programs are killed, too."""
    node.disk(support.DISK)
    node.disk(512 * support.MIB, "srv")
    running = node.start()
    running.wait_for(after)
    time.sleep(seconds)
    ended = running.process.poll()
    if ended is None:
        running.signal(signal.SIGKILL, group=True)
        assert running.wait().exit_code == -signal.SIGKILL
    support.nothing_is_held(node)
    node.create().succeeded()


def test_killed_without_its_parent(tiny: Node) -> None:
    """Only the process that Ganeti started is killed: the one that does the work goes with it."""
    hook = tiny.hook("slow", "echo begun; sleep 60")
    outcome = stop(tiny, signal.SIGKILL, after="begun", group=False)
    assert outcome.exit_code == -signal.SIGKILL
    support.nothing_is_held(tiny)
    hook.unlink()
    tiny.create().succeeded()
