"""The sandbox of QEMU's tools ends with the process that waits outside of it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from converter.sources.sandbox import confined
from tests.system.installer.support import output

OWNERS = {"root": 0, "nobody": 65534}


@pytest.fixture(params=OWNERS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.touch()
    os.chown(path, OWNERS[request.param], OWNERS[request.param])
    return path


def running(seconds: str) -> list[int]:
    found = output("pgrep", "--full", f"^sleep {seconds}$", check=False)
    return [int(pid) for pid in found.split()]


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds


def test_a_command_ends_with_the_process_outside(image: Path) -> None:
    seconds = f"1618{os.getpid()}"
    outside = subprocess.Popen(confined(["sleep", seconds], image, image.stat(), 600))
    assert wait_until(lambda: bool(running(seconds)))
    outside.kill()
    outside.wait()
    assert wait_until(lambda: not running(seconds))


def test_a_command_does_not_begin_after_the_end_of_the_process_outside(
    image: Path, tmp_path: Path
) -> None:
    """That ends between two system calls, fork(2) and prctl(2): the second one comes late here."""
    seconds = f"1732{os.getpid()}"
    argv = confined(["sleep", seconds], image, image.stat(), 600)
    argv.remove("--kill-child")
    late = ("sh", "-c", 'echo forked; sleep 0.5; exec "$@"', "late")
    place = argv.index("prlimit")
    argv[place:place] = late
    said = tmp_path / "said"
    with said.open("wb") as file:
        outside = subprocess.Popen(argv, stdout=file)
    assert wait_until(lambda: said.read_text() == "forked\n")
    outside.kill()
    outside.wait()
    time.sleep(2)
    survivors = running(seconds)
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert not survivors
