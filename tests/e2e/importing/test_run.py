"""`import run`, ended in the last pass; test_move.py has whole runs."""

import subprocess
from collections.abc import Iterator

import pytest

from importer.run import DECISIONS
from tests.e2e.host import ENVIRONMENT

from .lab import Lab
from .writer import INSTANCE, Writer, there

PID = "/run/import-run.pid"


@pytest.fixture
def copied(lab: Lab) -> Iterator[Writer]:
    with there(lab) as writer:
        writer.make()
        writer.node.run(["instance-kit", "import", "copy", writer.plan])
        yield writer
        writer.node.run(["instance-kit", "import", "abort", INSTANCE])
        assert writer.node.run(["ls", "/dev/xenvg"], check=False).stdout == ""


@pytest.mark.parametrize(("signal", "code"), [("TERM", 128 + 15), ("KILL", -9)])
def test_a_machine_runs_on_when_its_switch_is_ended(copied: Writer, signal: str, code: int) -> None:
    kit = f"instance-kit import run {copied.plan} switch --suspend --rate 4M "
    kit += " ".join(f"--yes {step}" for step in DECISIONS)
    with subprocess.Popen(
        copied.node.argv(["sh", "-c", f"echo $$ > {PID}; exec {kit}"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    ) as process:
        copied.until("paused")
        copied.node.run(["sh", "-c", f"kill -{signal} $(cat {PID})"])
        assert process.wait(60) == code
    copied.until("running", 20)
    assert copied.writes_on()
