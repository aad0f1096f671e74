"""Programs that are run for real."""

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from node.cleanup import Terminated, signals_raise
from node.errors import CommandError, KitError
from node.run import run, start
from node.service import BinaryService, serving, serving_binary
from tests.system.installer.support import output

pytestmark = pytest.mark.trixie

KILLS = 60
KILLED_WITHIN = 0.03  # seconds: a start takes 5 ms, and more on a busy machine


def test_output_and_exit_code_are_kept_apart() -> None:
    result = run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_input_is_given_and_otherwise_empty() -> None:
    assert run(["cat"], input="secret\n").stdout == "secret\n"
    assert run(["cat"]).stdout == ""


def test_a_failure_says_the_last_thing_that_the_program_said() -> None:
    with pytest.raises(CommandError, match=r"mkfs of disk 0: no room \(exit code 2\)"):
        run(["sh", "-c", "echo first >&2; echo no room >&2; exit 2"], what="mkfs of disk 0")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("set -x; echo no licence >&2; exit 2", "no licence"),
        ("set -x; echo no licence; exit 2", "no licence"),
        ("set -ex; test -e /nonexistent", "+ test -e /nonexistent"),
        ("PS4='+$0:'; set -x; echo no licence >&2; exit 2", "no licence"),
    ],
)
def test_a_shells_trace_is_not_the_reason(script: str, reason: str) -> None:
    with pytest.raises(CommandError) as caught:
        run(["sh", "-c", script], what="site hook x")
    assert caught.value.message.startswith(f"site hook x: {reason} (exit code ")


def test_what_a_shells_trace_hides_is_shown_once_more(caplog: pytest.LogCaptureFixture) -> None:
    script = "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; set -x; true; true; exit 1"
    seen: list[str] = []
    with pytest.raises(CommandError, match="line 7"):
        run(["sh", "-c", script], what="site hook x", on_line=seen.append)
    assert "+ true" in seen
    shown = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert shown == ["line 3", "line 4", "line 5", "line 6", "line 7"]


def test_a_program_that_a_signal_ends_is_an_error() -> None:
    with pytest.raises(CommandError, match="signal 9"):
        run(["sh", "-c", "kill -9 $$"])


def test_a_program_that_nobody_awaits_is_ended_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    running = start(["sh", "-c", f"sleep 100 & echo $! $$ > {pids}; wait"])
    deadline = time.monotonic() + 20
    while not pids.exists() or len(pids.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.end()
    for pid in pids.read_text().split():
        with suppress(FileNotFoundError):
            # Orphans wait for the first process to take note of their end.
            assert Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX"


def test_a_missing_program_is_named() -> None:
    with pytest.raises(KitError, match="no-such-program is not on this node"):
        run(["no-such-program"])


def test_the_environment_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/nonexistent.so")
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    shown = run(["env"], env={"TARGET": "/mnt"}).stdout
    assert "LD_PRELOAD" not in shown
    assert "LC_ALL=C.UTF-8\n" in shown and "TARGET=/mnt\n" in shown


def test_a_signal_ends_the_program_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    started = time.monotonic()
    script = f"sleep 1000 & echo $! $$ >{pids}; kill -TERM {os.getpid()}; wait"
    with pytest.raises(Terminated), signals_raise():
        run(["sh", "-c", script])
    assert time.monotonic() - started < 60
    deadline = time.monotonic() + 10
    while alive := [pid for pid in pids.read_text().split() if is_alive(pid)]:
        assert time.monotonic() < deadline, f"still running: {alive}"
        time.sleep(0.05)


def run_with_us(argv: list[str]) -> None:
    run(argv, ends_with_us=True)


def serve(argv: list[str]) -> None:
    with serving(argv, what="the service"):
        time.sleep(60)


@pytest.mark.parametrize("starts", [run_with_us, serve], ids=["run", "serving"])
def test_a_program_does_not_outlive_us_however_early_we_are_killed(
    starts: Callable[[list[str]], None],
) -> None:
    """We are killed at moments from before its start to after it, one after the other."""
    mark = f"2718{os.getpid()}"  # seconds that nothing else sleeps
    context = multiprocessing.get_context("fork")
    run(["true"])  # what is loaded with the first program takes longest
    for moment in range(KILLS):
        here, there = context.Pipe(duplex=False)

        def begin(there: Connection = there) -> None:
            there.send(None)
            starts(["sleep", mark])

        process = context.Process(target=begin)
        process.start()
        here.recv()
        time.sleep(KILLED_WITHIN * moment / KILLS)
        process.kill()
        process.join()
    time.sleep(1)  # for what is about to become the program
    deadline = time.monotonic() + 10
    while left := output("pgrep", "--full", f"^sleep {mark}$", check=False).split():
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(int(pid), signal.SIGKILL)
            pytest.fail(f"{len(left)} of {KILLS} outlived us")
        time.sleep(0.1)


def is_alive(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(") ")[2].split()[0] not in ("Z", "X")


def test_a_binary_service_gets_and_gives_any_bytes() -> None:
    sent = bytes(range(256)) * 4096
    with serving_binary(["cat"], what="cat", grace=5) as service, ThreadPoolExecutor() as pool:
        sending = pool.submit(service.channel.sendall, sent)
        with service.channel.makefile("rb") as stream:
            assert stream.read(len(sent)) == sent
            sending.result()
            service.channel.shutdown(socket.SHUT_WR)
            assert stream.read() == b""  # cat has ended, and nothing of ours holds its end open
    assert not service.running


def test_a_binary_service_ends_with_its_block() -> None:
    with serving_binary(["sh", "-c", "echo no licence >&2; exec sleep 60"], what="sh") as service:
        pid = service.pid
        while not service.complaints:
            time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()
    assert service.last_words == "no licence"
    assert service.channel.fileno() == -1


def test_a_binary_service_that_cannot_start_leaves_no_socket_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KitError, match="no-such-program is not on this node"):
        BinaryService(["no-such-program"], "x", None)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
