"""The client of the script that watches, with a script that says what it is told to."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import cast

import pytest

from converter import Silent
from importer.copying.jobs.watch import Watch, Watched
from importer.copying.jobs.watch_script import SCRIPT, command
from importer.errors import HostLost, JobAborted
from node.errors import KitError
from node.service import Service


class Script:
    """Answers lines as the script does; `says` lets it say more, None ends it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.exit_code: int | None = None
        self._lines: Queue[str | None] = Queue()

    def send(self, line: str) -> None:
        self.heard.append(line)
        answer = {"arm suspended": "armed", "arm stopped": "armed", "end": "ended"}.get(line)
        if answer:
            self._lines.put(answer)

    def says(self, line: str | None) -> None:
        self._lines.put(line)

    def line(self, seconds: float) -> str:
        try:
            line = self._lines.get(timeout=seconds)
        except Empty:
            raise KitError("no answer", hint="") from None
        if line is None:
            self.exit_code = 255
            raise KitError("it ended", hint="")
        return line


@contextmanager
def watch_of(script: Script) -> Iterator[Watch]:
    watch = Watch(cast(Service, script), "kvm1", "web", "/srv/scratch")
    try:
        yield watch
    finally:
        watch.close()


def failure(watch: Watch) -> KitError:
    for _ in range(200):
        if watch.failure is not None:
            return watch.failure
        time.sleep(0.01)
    raise AssertionError("no failure")


def test_it_is_told_that_we_live_and_what_to_undo() -> None:
    script = Script()
    with watch_of(script) as watch:
        watch.arm("suspended")
        watch.end()
        watch.end()
    assert script.heard == ["alive", "arm suspended", "end"]
    assert watch.failure is None


@pytest.mark.parametrize(
    ("line", "why"),
    [("space 1048576", "have only 1 MiB left in /srv/scratch"), ("paused", "by an I/O error")],
)
def test_an_aborted_job_ends_the_copy(line: str, why: str) -> None:
    script = Script()
    with watch_of(script) as watch:
        script.says("free 5000000")
        script.says(line)
        assert isinstance(failure(watch), JobAborted)
        with pytest.raises(JobAborted, match=why):
            Watched(Silent(), watch).update(1)
        with pytest.raises(JobAborted):
            watch.arm("stopped")


def test_its_end_is_the_loss_of_the_connection() -> None:
    script = Script()
    with watch_of(script) as watch:
        script.says(None)
        assert isinstance(failure(watch), HostLost)


def test_no_thread_stays() -> None:
    before = threading.active_count()
    with watch_of(Script()):
        pass
    assert threading.active_count() == before


def test_the_command_line() -> None:
    argv = command("uuid", "token", "/srv/scratch", ['/srv/a "b'], reserve=1, silence=2, patience=3)
    assert argv == [
        *("bash", "-c", SCRIPT, "watch"),
        *("uuid", "token", "/srv/scratch", "/run/ganeti-instance-kit-token.watch"),
        *("1", "2", "3", '"/srv/a \\"b"'),
    ]
