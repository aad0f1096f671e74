"""The script that watches a backup job, with a libvirt that only keeps a domain's state."""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from importer.copying.jobs.watch_script import command

# Its domain is in two files: `state`, and `job` while a job runs.
VIRSH = """#!/bin/sh
cd "$VIRSH_STATE" || exit 1
shift 3 # -q -c qemu:///system
echo "$1" >> calls
case $1 in
  domstate) if [ "$3" = --reason ]; then cat state; else sed 's/ (.*//' state; fi ;;
  backup-dumpxml) cat job ;;
  domjobabort) rm job ;;
  resume | start) echo 'running (booted)' > state ;;
esac
"""
ACTS = {"domjobabort", "resume", "start"}


class Watched:
    """A domain whose job is watched by scripts."""

    def __init__(self, path: Path) -> None:
        self.token = secrets.token_hex(8)
        self.scratch = path / "scratch"
        self.scratch.mkdir()
        self._path = path
        (path / "bin").mkdir()
        (path / "bin/virsh").write_text(VIRSH)
        (path / "bin/virsh").chmod(0o755)
        (path / "job").write_text(f"<domainbackup> {self.token} </domainbackup>")
        (path / "calls").touch()
        self.becomes("running (booted)")
        self.scripts: list[subprocess.Popen[str]] = []

    def becomes(self, state: str) -> None:
        (self._path / "state").write_text(f"{state}\n")

    @property
    def state(self) -> str:
        return (self._path / "state").read_text().strip()

    @property
    def has_job(self) -> bool:
        return (self._path / "job").exists()

    def acts(self) -> list[str]:
        return [call for call in (self._path / "calls").read_text().split() if call in ACTS]

    def script(self, reserve: int = 0) -> subprocess.Popen[str]:
        argv = command(
            *("uuid", self.token, str(self.scratch), []), reserve=reserve, silence=4, patience=2
        )
        environment = {
            "PATH": f"{self._path}/bin:{os.environ['PATH']}",
            "VIRSH_STATE": str(self._path),
        }
        started = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environment,
        )
        self.scripts.append(started)
        return started


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    for script in made.scripts:
        script.kill()
        script.wait()
        for stream in (script.stdin, script.stdout):
            assert stream is not None
            stream.close()
    Path(f"/run/ganeti-instance-kit-{made.token}.watch").unlink(missing_ok=True)


def send(script: subprocess.Popen[str], text: str) -> None:
    assert script.stdin is not None
    script.stdin.write(text)
    script.stdin.flush()


def says(script: subprocess.Popen[str], word: str) -> None:
    assert script.stdout is not None
    for line in script.stdout:
        if line.split()[0] == word:
            return
    raise AssertionError(f"it does not say {word}")


def cut(script: subprocess.Popen[str]) -> None:
    assert script.stdin is not None
    script.stdin.close()
    script.wait(20)


def test_it_ends_when_told_to(watched: Watched) -> None:
    script = watched.script()
    send(script, "alive\narm suspended\n")
    says(script, "armed")
    send(script, "end\n")
    says(script, "ended")
    assert script.wait(5) == 0
    assert watched.acts() == []
    assert watched.has_job
    assert not Path(f"/run/ganeti-instance-kit-{watched.token}.watch").exists()


def test_a_line_may_come_in_pieces(watched: Watched) -> None:
    script = watched.script()
    send(script, "arm sus")
    time.sleep(1.5)
    send(script, "pended\n")
    says(script, "armed")
    watched.becomes("paused (user)")
    cut(script)
    assert watched.state.startswith("running")


def test_when_cut_off_it_resumes_a_suspended_domain(watched: Watched) -> None:
    script = watched.script()
    send(script, "arm suspended\n")
    says(script, "armed")
    watched.becomes("paused (user)")
    cut(script)
    assert watched.acts() == ["domjobabort", "resume"]
    assert not watched.scratch.exists()


def test_silence_is_a_cut(watched: Watched) -> None:
    script = watched.script()
    send(script, "arm suspended\n")
    watched.becomes("paused (user)")
    script.wait(20)
    assert watched.state.startswith("running")


def test_when_cut_off_it_starts_a_domain_that_was_shut_down(watched: Watched) -> None:
    script = watched.script()
    send(script, "arm stopped\n")
    says(script, "armed")
    watched.becomes("shut off (shutdown)")
    cut(script)
    assert watched.acts() == ["start"]


def test_it_waits_for_a_guest_that_shuts_down_late(watched: Watched) -> None:
    script = watched.script()
    send(script, "arm stopped\n")
    says(script, "armed")
    assert script.stdin is not None
    script.stdin.close()
    time.sleep(1.0)
    watched.becomes("shut off (shutdown)")
    script.wait(20)
    assert watched.state.startswith("running")


def test_when_cut_off_otherwise_the_job_stays_until_another_one_takes_over(
    watched: Watched,
) -> None:
    script = watched.script()
    says(script, "free")
    assert script.stdin is not None
    script.stdin.close()
    time.sleep(2.5)
    assert script.poll() is None
    another = watched.script()
    says(another, "free")
    assert script.wait(20) == 0
    assert watched.acts() == []
    assert watched.has_job and watched.scratch.exists()


def test_an_armed_script_that_was_taken_over_does_nothing(watched: Watched) -> None:
    script = watched.script()
    send(script, "arm suspended\n")
    says(script, "armed")
    another = watched.script()
    says(another, "free")
    watched.becomes("paused (user)")
    cut(script)
    assert watched.acts() == []


def test_too_little_space_aborts_the_job(watched: Watched) -> None:
    script = watched.script(reserve=1 << 60)
    says(script, "space")
    script.wait(5)
    assert watched.acts() == ["domjobabort"]
    assert not watched.scratch.exists()


def test_a_guest_that_is_paused_by_an_error_is_resumed(watched: Watched) -> None:
    script = watched.script()
    watched.becomes("paused (I/O error)")
    says(script, "paused")
    script.wait(5)
    assert watched.acts() == ["domjobabort", "resume"]


def test_a_job_of_another_program_is_left_alone(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "job").write_text("<domainbackup> another </domainbackup>")
    script = watched.script(reserve=1 << 60)
    says(script, "space")
    script.wait(5)
    assert watched.acts() == []
    assert watched.has_job
