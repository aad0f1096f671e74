"""The script that watches a backup job, beside a libvirt that is not real."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.importer.copying.fake_libvirt import (
    FULL,
    OFF,
    OWNER,
    SUSPENDED,
    Libvirt,
    fake_libvirt,
)

ACTS = {"domjobabort", "resume", "start"}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Libvirt]:
    """A domain whose job is watched by scripts."""
    with fake_libvirt(tmp_path) as libvirt:
        libvirt.begins()
        yield libvirt


def acts(watched: Libvirt) -> list[str]:
    return [call for call in watched.log if call in ACTS]


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


def test_it_ends_when_told_to(watched: Libvirt) -> None:
    script = watched.watch()
    send(script, "alive\narm suspended\n")
    says(script, "armed")
    send(script, "end\n")
    says(script, "ended")
    assert script.wait(5) == 0
    assert acts(watched) == []
    assert watched.has_job
    assert not OWNER.exists()


def test_a_line_may_come_in_pieces(watched: Libvirt) -> None:
    script = watched.watch()
    send(script, "arm sus")
    time.sleep(1.5)
    send(script, "pended\n")
    says(script, "armed")
    watched.state(SUSPENDED)
    cut(script)
    assert watched.is_running


def test_when_cut_off_it_resumes_a_suspended_domain(watched: Libvirt) -> None:
    script = watched.watch()
    send(script, "arm suspended\n")
    says(script, "armed")
    watched.state(SUSPENDED)
    cut(script)
    assert acts(watched) == ["resume", "domjobabort"]
    assert not watched.scratch.exists()


def test_silence_is_a_cut(watched: Libvirt) -> None:
    script = watched.watch()
    send(script, "arm suspended\n")
    watched.state(SUSPENDED)
    script.wait(20)
    assert watched.is_running


def test_when_cut_off_it_starts_a_domain_that_was_shut_down(watched: Libvirt) -> None:
    script = watched.watch()
    send(script, "arm stopped\n")
    says(script, "armed")
    watched.state(OFF)
    cut(script)
    assert acts(watched) == ["start"]


def test_it_waits_for_a_guest_that_shuts_down_late(watched: Libvirt) -> None:
    script = watched.watch()
    send(script, "arm stopped\n")
    says(script, "armed")
    assert script.stdin is not None
    script.stdin.close()
    time.sleep(1.0)
    watched.state(OFF)
    script.wait(20)
    assert watched.is_running


def test_when_cut_off_otherwise_the_job_stays_until_another_one_takes_over(
    watched: Libvirt,
) -> None:
    script = watched.watch()
    says(script, "free")
    assert script.stdin is not None
    script.stdin.close()
    time.sleep(2.5)
    assert script.poll() is None
    another = watched.watch()
    says(another, "free")
    assert script.wait(20) == 0
    assert acts(watched) == []
    assert watched.has_job and watched.scratch.exists()


def test_an_armed_script_that_was_taken_over_does_nothing(watched: Libvirt) -> None:
    script = watched.watch()
    send(script, "arm suspended\n")
    says(script, "armed")
    another = watched.watch()
    says(another, "free")
    watched.state(SUSPENDED)
    cut(script)
    assert acts(watched) == []


def test_too_little_space_aborts_the_job(watched: Libvirt) -> None:
    script = watched.watch(reserve=1 << 60)
    says(script, "space")
    script.wait(5)
    assert acts(watched) == ["domjobabort"]
    assert not watched.scratch.exists()


def test_a_guest_that_is_paused_by_an_error_is_resumed(watched: Libvirt) -> None:
    script = watched.watch()
    watched.state(FULL)
    says(script, "paused")
    script.wait(5)
    assert acts(watched) == ["domjobabort", "resume"]


def test_a_job_of_another_program_is_left_alone(watched: Libvirt, tmp_path: Path) -> None:
    (tmp_path / "job").write_text("<domainbackup> another </domainbackup>")
    script = watched.watch(reserve=1 << 60)
    says(script, "space")
    script.wait(5)
    assert acts(watched) == []
    assert watched.has_job
