"""What work on hostile bytes can reach in its own process: one descriptor, and memory."""

import mmap
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.isolation import confined as module
from node.isolation.confined import ConfinedError, confined

pytestmark = pytest.mark.trixie  # what Python itself calls differs


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "disk").write_bytes(b"0123456789")
    found = os.open(tmp_path / "disk", os.O_RDONLY)
    yield found
    os.close(found)


def test_it_reads_and_gives_what_it_found(fd: int) -> None:
    assert confined(lambda: os.pread(fd, 4, 3), readable=fd, most=10) == b"3456"
    assert confined(lambda: b"x" * (1 << 20), readable=fd, most=1 << 20) == b"x" * (1 << 20)


def test_it_has_memory_whatever_we_have_mapped(fd: int) -> None:
    """An export maps its disk to ask what the page cache holds."""
    with mmap.mmap(-1, 4 * module.MEMORY, prot=mmap.PROT_READ):
        assert confined(lambda: bytes(64 << 20)[-1:], readable=fd, most=1) == b"\0"


def tries(action: Callable[[], object]) -> Callable[[], bytes]:
    """Work that says whether something could be done."""

    def work() -> bytes:
        try:
            action()
        except OSError:
            return b"refused"
        return b"done"

    return work


@pytest.mark.parametrize(
    "action",
    [
        lambda: os.open("/etc/hostname", os.O_RDONLY),
        lambda: os.stat("/etc/hostname"),  # noqa: PTH116
        lambda: socket.socket(socket.AF_UNIX),
        lambda: os.fork(),
        lambda: os.execv("/bin/true", ["true"]),
        lambda: os.kill(os.getppid(), 0),
        lambda: os.write(2, b"x"),
        lambda: os.setuid(0),
        lambda: os.pipe(),
        lambda: os.dup(0),
    ],
    ids=["open", "stat", "socket", "fork", "exec", "kill", "stderr", "setuid", "pipe", "dup"],
)
def test_nothing_else_can_be_done(action: Callable[[], object], fd: int) -> None:
    assert confined(tries(action), readable=fd, most=10) == b"refused"


def test_work_that_fails_or_gives_too_much_is_an_error(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def memory() -> bytes:
        return b"x" * len(bytearray(4 << 30))

    def endless() -> bytes:
        while True:
            pass

    before = children()
    for work, words in ((memory, "failed"), (lambda: b"x" * 100, "more than it may")):
        with pytest.raises(ConfinedError, match=words):
            confined(work, readable=fd, most=99)
    monkeypatch.setattr(module, "SECONDS", 1)
    with pytest.raises(ConfinedError, match="more than 1 s"):
        confined(endless, readable=fd, most=99)
    assert children() == before


def children() -> list[str]:
    """Also those that have ended and nobody has waited for."""
    threads = Path("/proc/self/task").glob("*/children")
    return sorted(child for thread in threads for child in thread.read_text().split())


def test_it_ends_with_us(fd: int) -> None:
    here, there = os.pipe()
    ours = os.fork()
    if ours == 0:

        def work() -> bytes:
            while True:
                pass

        os.write(there, b"x")
        confined(work, readable=fd, most=1)
        os._exit(0)
    os.read(here, 1)
    children = Path(f"/proc/{ours}/task/{ours}/children")
    while not (child := children.read_text().split()):
        time.sleep(0.01)
    while Path(f"/proc/{child[0]}/status").read_text().find("Seccomp:\t2") < 0:
        time.sleep(0.01)
    os.kill(ours, signal.SIGKILL)
    os.waitpid(ours, 0)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child[0]}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.close(here)
    os.close(there)
