"""qcow2raw under nohup, in the background of scripts, and with little of what it may have."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import convert_support as support
from tests.system.convert_support import MIB, Run, Write, qcow2raw
from tests.system.nbd_device import served

SIZE = 12 * MIB
TARGET = 16 * MIB
LACKING = os.environ.get("CI") != "true" and not shutil.which("nbdfuse")


@pytest.fixture(autouse=True)
def _no_program_stays(tmp_path: Path) -> Iterator[None]:
    yield
    support.require_nothing_left(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What it holds is in image.raw."""
    image = support.qcow2(
        tmp_path / "image.qcow2",
        SIZE,
        Write(0, support.noise(2 * MIB, 1)),
        Write(3 * MIB, support.prose(2 * MIB, 2), compressed=True),
        Write(9 * MIB + 512, support.noise(MIB, 3)),
    )
    support.raw_of(image, tmp_path / "image.raw")
    return image


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    with support.target(tmp_path / "target", TARGET) as device:
        yield device


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Path]:
    """A disk that takes 4 MiB in a second."""
    file = support.dirty(tmp_path / "slow", TARGET)
    with served(tmp_path, "--filter=rate", "file", file, "rate=32M", "burstiness=1") as device:
        yield device.path


@pytest.mark.skipif(LACKING, reason="needs nbdfuse")
@pytest.mark.parametrize(
    ("by", "number"),
    [
        (("nohup",), signal.SIGHUP),  # nohup(1)
        (("sh", "-c", 'trap "" INT; exec "$@"', "sh"), signal.SIGINT),  # as shells do for `&`
        (("sh", "-c", 'trap "" TERM; exec "$@"', "sh"), signal.SIGTERM),
    ],
    ids=str,
)
def test_a_signal_that_was_ignored_at_the_start_does_not_end_it(
    image: Path, slow: Path, tmp_path: Path, by: tuple[str, ...], number: signal.Signals
) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    run = Run(image, slow, journals=journals, by=by)
    support.wait_until(lambda: any(journals.glob("*.json")))
    for _ in range(5):
        run.signal(number)
    run.wait().done()
    support.require_same(slow, image.with_suffix(".raw"))


@pytest.mark.skipif(LACKING, reason="needs nbdfuse")
def test_a_burst_of_signals_says_one_thing(image: Path, slow: Path, tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    journals.mkdir()
    run = Run(image, slow, journals=journals)
    support.wait_until(lambda: any(journals.glob("*.json")))
    deadline = time.monotonic() + 60
    while not run.ended and time.monotonic() < deadline:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            run.signal(number)
    outcome = run.wait()
    assert outcome.exit_code in (128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGHUP)
    outcome.failed(outcome.exit_code, "stopped by SIG")
    assert "race" not in outcome.stderr and "Exception" not in outcome.stderr, outcome
    assert len(outcome.stderr.splitlines()) == 2, outcome
    qcow2raw("--resume", image, slow, journals=journals).done()
    support.require_same(slow, image.with_suffix(".raw"))
