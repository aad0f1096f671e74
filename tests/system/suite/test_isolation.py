"""Runs of the tests do not disturb each other, and leave nothing, however they end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from backup import import_
from converter.engine import journal
from kit.rescue import records
from tests import leaks
from tests.system.installer.support import output
from tests.system.loops import loop
from tools.isolated import RUN

TOP = Path(__file__).parents[3]
ISOLATED = TOP / "tools/isolated.py"
MIB = 1 << 20
SECONDS = 30

# A test of another run: it has a loop device over nbdfuse, a process that outlives it, and a mount
# through which somebody else's files are seen.
HOLDS = """
import os, subprocess
from pathlib import Path
from tests.system.converter.nbd_device import served
run = Path(os.environ["KIT_TESTS_RUN"])
subprocess.Popen(["setsid", "sleep", "1000"])
(run / "foreign").mkdir()
subprocess.run(["mount", "--bind", os.environ["FOREIGN"], run / "foreign"], check=True)
with served(run, "memory", "8M") as device:
    print(run, device.path, flush=True)
    input()
"""

# A test of another run that leaves nothing, and takes its time.
TIDY = """
import os
from pathlib import Path
from tests import leaks
with leaks.none(Path(os.environ["KIT_TESTS_RUN"])):
    print("ready", flush=True)
    input()
"""


@contextmanager
def another_run(program: str, isolated: Path = ISOLATED) -> Iterator["subprocess.Popen[str]"]:
    """A Python program in a run that knows nothing of this one."""
    environ = {key: text for key, text in os.environ.items() if key != RUN}
    with subprocess.Popen(
        [isolated, sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=isolated.parents[1],
        env=environ,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def runs(program: str, isolated: Path = ISOLATED) -> str:
    """Runs one to its end; gives what it printed."""
    with another_run(program, isolated) as process:
        printed, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    return printed


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.quick
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing(
    number: signal.Signals,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOREIGN", str(tmp_path))
    foreign = tmp_path / "file"
    foreign.touch()
    with leaks.none(tmp_path_factory.getbasetemp()), another_run(HOLDS) as process:
        run, device = map(Path, said(process).split())
        backing = Path("/sys/block", device.name, "loop/backing_file")
        assert backing.read_text().startswith(str(run))
        process.send_signal(number)
        assert process.wait(SECONDS) in (-number, 128 + number)
        until(lambda: not backing.exists() or not backing.read_text().startswith(str(run)))
    if number == signal.SIGKILL:
        runs("pass")
    assert not run.exists()
    assert foreign.exists()


def test_a_run_that_goes_on_keeps_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREIGN", str(tmp_path))
    with another_run(HOLDS) as process:
        run, _ = map(Path, said(process).split())
        runs("pass")
        assert run.exists()
        process.terminate()
        process.wait(SECONDS)


@pytest.mark.quick
def test_what_others_do_is_no_leak(tmp_path: Path) -> None:
    """Their loop devices, mounts, processes, and files in /tmp: here we are the others."""
    foreign = leaks.TMP / "ganeti-instance-kit-x"
    with another_run(TIDY) as process, ExitStack() as stack:
        assert said(process) == "ready"
        for leave in LEAVE.values():
            leave(tmp_path, stack)
        foreign.mkdir()
        stack.callback(foreign.rmdir)
        process.communicate("\n", timeout=SECONDS)
        assert process.returncode == 0


@pytest.mark.parametrize(
    "directory", [journal.DIRECTORY, import_.HEADS, records.DIRECTORY], ids=str
)
def test_what_the_kit_keeps_is_not_seen_by_others(directory: Path) -> None:
    """Their gc would remove it."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "x"
    file.touch()
    try:
        found = f"from pathlib import Path; print(Path({str(file)!r}).exists())"
        assert runs(found) == "False\n"
    finally:
        file.unlink()


def leave_process(_: Path, stack: ExitStack) -> None:
    """A daemon, whose parent is gone."""
    pid = int(output("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"))
    stack.callback(os.kill, pid, signal.SIGKILL)


def leave_mount(directory: Path, stack: ExitStack) -> None:
    place = directory / "mounted"
    place.mkdir()
    output("mount", "-t", "tmpfs", "left", place)
    stack.callback(output, "umount", place)


def leave_loop(directory: Path, stack: ExitStack) -> None:
    disk = directory / "disk"
    disk.write_bytes(bytes(MIB))
    stack.enter_context(loop(disk))


def leave_file(_: Path, stack: ExitStack) -> None:
    path = leaks.TMP / "libnbdXXXXXX"
    path.mkdir()
    stack.callback(path.rmdir)


LEAVE: dict[str, Callable[[Path, ExitStack], None]] = {
    "processes": leave_process,
    "mounts": leave_mount,
    "loop devices": leave_loop,
    "in /tmp": leave_file,
}


@pytest.mark.parametrize("kind", LEAVE)
def test_what_a_test_leaves_is_found(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "SETTLE_SECONDS", 0.2)
    with ExitStack() as stack:
        with pytest.raises(AssertionError, match="left behind") as caught, leaks.none(tmp_path):
            LEAVE[kind](tmp_path, stack)
        assert kind in str(caught.value)
        assert not [other for other in LEAVE if other != kind and other in str(caught.value)]


def test_a_checkout_in_tmp_is_there() -> None:
    top = leaks.TMP / "checkout"
    for package in ("node", "tools"):
        shutil.copytree(TOP / package, top / package)
    try:
        isolated = top / "tools/isolated.py"
        program = "import os, node.log; print(os.listdir('/tmp'), node.log.__file__)"
        assert runs(program, isolated) == f"['checkout'] {top}/node/log.py\n"
    finally:
        shutil.rmtree(top)
