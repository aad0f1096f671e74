"""Reads sources in processes of their own, and looks at what they leave."""

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# As the program has it; and the tests look for its name among the processes.
PYTHON = "/usr/bin/python3"
READ_SOURCE = Path(__file__).with_name("read_source.py")
SECONDS = 60
SETTLE_SECONDS = 5.0


class Reading:
    """A process that reads a source; `inside` is put before its command line.

    It reads a little, then waits until `go_on`.
    """

    def __init__(
        self, name: str | Path, image_format: str, out: Path, inside: Sequence[str] = ()
    ) -> None:
        command = [*inside, PYTHON, READ_SOURCE, name, image_format, out, "pause"]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "reading\n"
        self.family = descendants(self.process.pid)

    def go_on(self) -> dict[str, Any]:
        """Lets it read the rest; gives what it tells at its end."""
        stdout, _ = self.process.communicate("\n", timeout=SECONDS)
        return last_line(stdout)

    def kill(self) -> None:
        """As the kernel's OOM killer would."""
        self.process.kill()
        self.process.communicate()

    def require_family_gone(self) -> None:
        """Whatever it had started has ended."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while left := [member for member in self.family if name_of(member[0]) == member[1]]:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)


def read(
    name: str | Path, image_format: str, out: Path, inside: Sequence[str] = ()
) -> dict[str, Any]:
    """Reads a source to its end; gives what the reader told: "error" and "hint", or not."""
    command = [*inside, PYTHON, READ_SOURCE, name, image_format, out]
    ended = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return last_line(ended.stdout)


def last_line(stdout: str) -> dict[str, Any]:
    told = json.loads(stdout.splitlines()[-1])
    assert isinstance(told, dict)
    return told


def descendants(pid: int) -> list[tuple[int, str]]:
    """All processes that came of one, with their names."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [(int(child), name_of(int(child))), *descendants(int(child))]
    return found


def name_of(pid: int) -> str:
    """The program of a living process; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state = stat.rpartition(") ")[2].split()[0]
    return "" if state in ("Z", "X") else stat.partition("(")[2].rpartition(")")[0]


def same(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes and size."""
    if one.stat().st_size != other.stat().st_size:
        return False
    return subprocess.run(["cmp", "--silent", one, other], check=False).returncode == 0
