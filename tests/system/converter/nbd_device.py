"""Block devices that fail, stall or forget: a loop device over nbdfuse over nbdkit's filters."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.installer.support import loop, output

SECONDS = 10


@dataclass(frozen=True)
class Device:
    """The loop device, and the nbdkit that it ends in."""

    path: Path
    _nbdfuse: "subprocess.Popen[bytes]"

    def cut_power(self) -> None:
        """Ends nbdkit as a power cut ends a disk: what it has not flushed is gone."""
        tasks = Path(f"/proc/{self._nbdfuse.pid}/task").glob("*/children")
        [nbdkit] = [word for children in tasks for word in children.read_text().split()]
        output("kill", "-KILL", nbdkit)


@contextmanager
def served(directory: Path, *nbdkit: str | Path, read_only: bool = False) -> Iterator[Device]:
    """Serves what nbdkit serves as a block device.

    Args:
        directory: where the mount point is made.
        nbdkit: its filters, plugin and parameters.
        read_only: whether the loop device is.
    """
    place = directory / "nbd"
    place.mkdir(exist_ok=True)
    file = place / "disk"
    # Over a pair of sockets: for `[ ... ]`, libnbd makes a directory in /tmp, where it stays when
    # nbdfuse has lost its server.
    server = ["--command", "nbdkit", "--single", "--exit-with-parent", *map(str, nbdkit)]
    with subprocess.Popen(["nbdfuse", file, *server], stderr=subprocess.DEVNULL) as nbdfuse:
        try:
            _until(file.exists, f"nbdkit {nbdkit} does not serve")
            # Past the page cache of nbdfuse's file: what is read is what the disk has.
            with loop(file, read_only=read_only, direct_io=True) as device:
                assert Path("/sys/block", device.name, "loop/dio").read_text() == "1\n"
                yield Device(device, nbdfuse)
        finally:
            # The kernel lets go of the loop device's file a moment later.
            unmount = ("fusermount3", "-u", str(place))
            try:
                _until(lambda: _runs(*unmount) or not place.is_mount(), f"{place} stays mounted")
                nbdfuse.wait(SECONDS)
            finally:
                nbdfuse.kill()
    place.rmdir()


@contextmanager
def hung(directory: Path, *by: str) -> Iterator[Path]:
    """A file of a file system that does not answer, as of a server that is gone.

    A process has it open. What asks for it waits, until it is killed or all is over.

    Args:
        directory: where the mount point is made.
        by: runs that process.
    """
    place = directory / "hung"
    place.mkdir()
    file = place / "disk"
    server = ["--command", "nbdkit", "--single", "--exit-with-parent", "memory", "1M"]
    asking = []

    def waits(file: Path) -> bool:
        # Not timeout(1): what waits for an answer may not even be killed.
        asking.append(subprocess.Popen(["stat", file], stdout=subprocess.DEVNULL))
        try:
            asking[-1].wait(1)
        except subprocess.TimeoutExpired:
            return True
        return False

    with subprocess.Popen(["nbdfuse", file, *server], stderr=subprocess.DEVNULL) as nbdfuse:
        try:
            _until(file.exists, "nbdkit does not serve")
            with file.open("r+b") as opened:
                user = subprocess.Popen(
                    [*by, "cat"], stdin=subprocess.PIPE, pass_fds=[opened.fileno()]
                )
            nbdfuse.send_signal(signal.SIGSTOP)
            try:
                # The kernel believes for a second what it was told before.
                _until(lambda: waits(file), f"{file} answers")
                yield file
            finally:
                nbdfuse.send_signal(signal.SIGCONT)
                user.communicate()  # it ends as its input does
                for each in asking:
                    each.wait(SECONDS)
        finally:
            try:
                _until(lambda: _runs("fusermount3", "-u", str(place)), f"{place} stays mounted")
                nbdfuse.wait(SECONDS)
            finally:
                nbdfuse.kill()
    place.rmdir()


def _runs(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _until(happened: Callable[[], bool], else_error: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, else_error
        time.sleep(0.05)
