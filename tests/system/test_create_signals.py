"""A create may be stopped or killed at any moment: nothing stays, and another one succeeds."""

import random
import signal
import time
from pathlib import Path

import pytest

from tests.system import create_support as support
from tests.system.create_support import Node

# The same moments in each run, so that a failure can be seen again.
MOMENTS = random.Random(20)


@pytest.fixture
def tiny(node: Node) -> Node:
    """A node that makes the smallest of guests, with a cache of its own."""
    node.settings |= support.TINY
    node.settings["CACHE_DIR"] = str(node.cache)
    node.disk(support.TINY_DISK)
    return node


def stop(
    node: Node, number: signal.Signals, *, after: str, seconds: float, group: bool
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
    support.link_cache(tiny)
    hook = tiny.hook("slow", 'echo begun; chroot "$TARGET" sleep 60')
    outcome = stop(tiny, number, after="begun", seconds=0.1, group=group)
    outcome.failed(f"stopped by {number.name}", exit_code=128 + number)
    assert outcome.seconds < 30
    support.nothing_is_held(tiny)
    hook.unlink()
    tiny.create().succeeded()


@pytest.mark.parametrize("seconds", [round(MOMENTS.uniform(0, 12), 1) for _ in range(3)])
def test_stopped_while_the_cache_is_made(tiny: Node, seconds: float) -> None:
    outcome = stop(tiny, signal.SIGTERM, after="engine: ", seconds=seconds, group=True)
    outcome.failed("stopped by SIGTERM", exit_code=143)
    support.nothing_is_held(tiny)
    assert not caches(tiny.cache)
    support.link_cache(tiny)
    tiny.create().succeeded()


@pytest.mark.parametrize("seconds", [round(MOMENTS.uniform(0, 15), 1) for _ in range(4)])
def test_killed_while_the_cache_is_made(tiny: Node, seconds: float) -> None:
    outcome = stop(tiny, signal.SIGKILL, after="disks", seconds=seconds, group=True)
    assert outcome.exit_code == -signal.SIGKILL, outcome.log
    support.nothing_is_held(tiny)
    whole = [name for name in caches(tiny.cache) if name.endswith(".zst") and name[0] != "."]
    assert not whole or "kept as" in outcome.log
    support.link_cache(tiny)
    tiny.create().succeeded()
    assert not [name for name in caches(tiny.cache) if not name.endswith(".tar.zst")]


def test_killed_while_the_cache_is_packed(tiny: Node) -> None:
    outcome = stop(tiny, signal.SIGKILL, after="\n  cache\n", seconds=0.3, group=True)
    assert outcome.exit_code == -signal.SIGKILL, outcome.log
    support.nothing_is_held(tiny)
    [part] = [name for name in caches(tiny.cache) if name.endswith(".part")]
    assert not [name for name in caches(tiny.cache) if name.endswith(".zst")]
    support.link_cache(tiny)
    tiny.create().succeeded()
    assert part not in caches(tiny.cache)


@pytest.mark.parametrize("seconds", [round(MOMENTS.uniform(0, 7), 1) for _ in range(5)])
def test_killed_while_the_guest_is_set_up(node: Node, seconds: float) -> None:
    node.disk(support.DISK)
    node.disk(512 * support.MIB, "srv")
    running = node.start()
    running.wait_for("disks")
    time.sleep(seconds)
    ended = running.process.poll()
    if ended is None:
        running.signal(signal.SIGKILL, group=True)
        assert running.wait().exit_code == -signal.SIGKILL
    support.nothing_is_held(node)
    node.create().succeeded()


def test_killed_without_its_parent(tiny: Node) -> None:
    """Only the process that Ganeti started is killed: the one that does the work goes with it."""
    support.link_cache(tiny)
    hook = tiny.hook("slow", "echo begun; sleep 60")
    outcome = stop(tiny, signal.SIGKILL, after="begun", seconds=0.1, group=False)
    assert outcome.exit_code == -signal.SIGKILL
    support.nothing_is_held(tiny)
    hook.unlink()
    tiny.create().succeeded()
