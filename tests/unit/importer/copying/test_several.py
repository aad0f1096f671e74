"""Several copies at once; what a copy does is faked."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from converter import (
    CopyFailed,
    CopyOptions,
    CopyResult,
    CopyStopped,
    KitError,
    Progress,
    Silent,
    Source,
    TargetInUse,
    TargetState,
    Terminated,
    signals_raise,
)
from importer.copying import several
from importer.copying.several import DiskCopy, copy_all
from importer.errors import CopiesFailed, CopiesStopped
from node.cleanup import signal_waits

RESUMABLE = TargetState(resumable_at=5)
Act = Callable[[Progress], object]


def disk(name: str, act: Act) -> DiskCopy:
    return DiskCopy(name, cast(Source, act), Path("/dev/vg", name), CopyOptions())


@pytest.fixture(autouse=True)
def _copies_do_what_their_source_says(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def copy(act: Act, target: Path, _options: CopyOptions, progress: Progress) -> CopyResult:
        assert target.parent == Path("/dev/vg")
        return cast(CopyResult, act(progress))

    before = set(threading.enumerate())
    monkeypatch.setattr(several, "copy", copy)
    monkeypatch.setattr(several, "TICK", 0.01)
    yield
    assert not set(threading.enumerate()) - before


def goes_on(progress: Progress) -> object:
    """A long copy: it ends by what its progress raises."""
    progress.begin("copy", 100)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            progress.update(1)
        except Terminated as stopped:
            raise CopyStopped(stopped.number, RESUMABLE) from None
        except KitError as error:
            raise CopyFailed(error, RESUMABLE) from None
        time.sleep(0.001)
    raise AssertionError("it was not stopped")


def test_all_are_copied_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)

    def act(number: int) -> Act:
        def copied(progress: Progress) -> object:
            progress.begin("copy", 5)
            together.wait()
            return number

        return copied

    results = copy_all([disk(f"vd{n}", act(n)) for n in range(3)], Silent())
    assert results == {"vd0": 0, "vd1": 1, "vd2": 2}


def test_the_first_failure_stops_the_others(caplog: pytest.LogCaptureFixture) -> None:
    in_use = TargetInUse("target vdb: in use", "wait")

    def fails(_progress: Progress) -> object:
        raise in_use

    with pytest.raises(CopiesFailed, match="target vdb: in use") as failed:
        copy_all([disk("vda", goes_on), disk("vdb", fails), disk("vdc", lambda _: 1)], Silent())
    assert failed.value.hint == "wait"
    assert failed.value.failures["vdb"] is in_use
    assert "another disk failed" in failed.value.failures["vda"].message
    assert "vdc" not in failed.value.failures
    assert failed.value.left == {"vda": RESUMABLE, "vdc": TargetState(complete=True)}
    assert not caplog.messages


def test_every_failure_of_its_own_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several.log, "propagate", True)
    together = threading.Barrier(2, timeout=10)

    def fails(progress: Progress) -> object:
        progress.begin("copy", 5)
        together.wait()
        raise CopyFailed(ValueError("odd"), TargetState())

    with pytest.raises(CopiesFailed, match="ValueError: odd") as failed:
        copy_all([disk("vda", fails), disk("vdb", fails)], Silent())
    assert set(failed.value.failures) == {"vda", "vdb"}
    assert len(caplog.messages) == 1 and caplog.messages[0].endswith(": ValueError: odd")


def test_a_signal_stops_all() -> None:
    began = threading.Barrier(2, timeout=10)

    def kills(progress: Progress) -> object:
        progress.begin("copy", 5)
        began.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        return goes_on(progress)

    def waits(progress: Progress) -> object:
        began.wait()
        return goes_on(progress)

    with pytest.raises(CopiesStopped) as stopped, signals_raise():
        copy_all([disk("vda", kills), disk("vdb", waits), disk("vdc", lambda _: 1)], Silent())
    assert stopped.value.number == signal.SIGTERM
    complete = TargetState(complete=True)
    assert stopped.value.left == {"vda": RESUMABLE, "vdb": RESUMABLE, "vdc": complete}
    assert not signal_waits()


def test_a_report_that_cannot_be_written_stops_all() -> None:
    class Full(Silent):
        def update(self, done: int) -> None:
            raise KitError(f"write after {done} bytes: No space left on device", "df")

    with pytest.raises(CopiesFailed, match="write after 1 bytes") as failed:
        copy_all([disk("vda", goes_on)], Full())
    assert failed.value.left == {"vda": RESUMABLE}


def test_an_error_of_another_kind_is_told_by_its_name() -> None:
    def fails(_progress: Progress) -> object:
        raise OSError(24, "Too many open files")

    with pytest.raises(CopiesFailed, match="Too many open files") as failed:
        copy_all([disk("vda", fails)], Silent())
    assert failed.value.left == {}
