"""A program on the node of the end-to-end tests ends when nobody waits for it any more."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.host import END_SECONDS, SandboxError
from tests.e2e.sandbox import Sandbox

# A script with another process of its group.
SLEEPS = "sleep 1000.{mark} & echo begun; echo why >&2; wait"
# Both ignore SIGTERM.
STUBBORN = "trap '' TERM; sleep 1000.{mark} & echo begun; echo why >&2; wait"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Sandbox]:
    """A node with the namespaces of a real one, but without Ganeti."""
    namespaces = ("--net", "--mount", "--uts", "--ipc", "--pid", "--mount-proc")
    with subprocess.Popen(
        ["unshare", *namespaces, "--fork", "--kill-child", "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        made = Sandbox(tmp_path)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        made.pid = int(children.read_text().split()[0])
        yield made
        process.kill()


def sleeping() -> list[str]:
    """The processes of our script that sleep."""
    mark = f"sleep\0001000.{os.getpid()}\0".encode()
    found = []
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words.read_bytes() == mark:
                found.append(words.parent.name)
        except OSError:
            continue  # it has ended
    return found


@pytest.mark.parametrize("script", [SLEEPS, STUBBORN], ids=["usual", "stubborn"])
def test_a_program_that_takes_too_long_is_ended(node: Sandbox, script: str) -> None:
    with pytest.raises(SandboxError, match=r"still running after 1 s\nbegun\nwhy\n$"):
        node.run(["sh", "-c", script.format(mark=os.getpid())], timeout=1)
    assert sleeping() == []


def test_a_program_is_ended_when_the_wait_for_it_is(node: Sandbox) -> None:
    """As pytest-timeout does it, or Ctrl-C."""

    def stop(*_: object) -> None:
        assert sleeping()
        raise TimeoutError  # InterruptedError would be taken for a signal to go on after

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(2)
    try:
        with pytest.raises(TimeoutError):
            node.run(["sh", "-c", SLEEPS.format(mark=os.getpid())])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    deadline = time.monotonic() + END_SECONDS
    while sleeping():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_daemon_that_keeps_the_streams_is_not_waited_for(
    node: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.e2e.host.END_SECONDS", 0.5)
    script = "echo begun; setsid sleep 1000 & wait"
    with pytest.raises(SandboxError, match=r"still running after 1 s\nbegun\n$"):
        node.run(["sh", "-c", script], timeout=1)


def test_its_exit_code_and_streams(node: Sandbox) -> None:
    ran = node.run(["sh", "-c", "cat; echo err >&2; exit 3"], input="in", check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "in", "err\n")
    with pytest.raises(SandboxError, match=r"exit code 3\ninerr\n$"):
        node.run(["sh", "-c", "cat; echo err >&2; exit 3"], input="in")
    assert node.run(["sh", "-c", "kill -KILL $$"], check=False).returncode == -signal.SIGKILL
