"""The scripts that run on the KVM host, beside a libvirt that is not real."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter.sources.qemu_image import driver_options
from importer.copying.jobs import facts, job, servers, virsh_jobs
from tests.system.converter.support import wait_until
from tests.system.importer.copying.fake_libvirt import (
    FULL,
    OFF,
    OWNER,
    SUSPENDED,
    TOKEN,
    UUID,
    Libvirt,
    fake_libvirt,
)


@pytest.fixture
def libvirt(tmp_path: Path) -> Iterator[Libvirt]:
    with fake_libvirt(tmp_path) as libvirt:
        yield libvirt


def tell(watch: "subprocess.Popen[str]", line: str, answer: str) -> None:
    assert watch.stdin is not None and watch.stdout is not None
    watch.stdin.write(f"{line}\n")
    watch.stdin.flush()
    while watch.stdout.readline() != f"{answer}\n":
        pass


def ended(process: "subprocess.Popen[str]", seconds: float = 20) -> int:
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(seconds)


def begin(libvirt: Libvirt, *, suspend: bool) -> "subprocess.Popen[str]":
    words = (UUID, "0", "yes" if suspend else "no", "0", str(OWNER))
    return libvirt.script(virsh_jobs._BEGIN, *words)


@pytest.mark.parametrize(
    ("name", "there", "expected"),
    [
        ("web", ["domain-7-db", "domain-7-web"], "domain-7-web"),
        ("web", ["domain-7-w", "domain-7-web", "domain-7-web2", "domain-8-web"], "domain-7-web"),
        ("web of the *] shop in the city", ["domain-7-*", "domain-7-web of the *] shop in"], None),
        ("web", ["domain-7-db"], "ours"),
        ("web", [], "ours"),
    ],
)
def test_the_socket_is_in_the_directory_of_the_domain_that_runs(
    libvirt: Libvirt, name: str, there: list[str], expected: str | None
) -> None:
    """After a power failure, directories of others with the same number are left."""
    state = libvirt.directory / "qemu"
    for each in there:
        (state / each).mkdir(parents=True)
    state.mkdir(exist_ok=True)
    (libvirt.directory / "name").write_text(f"{name}\n")
    script = job._PREPARE.replace(job.QEMU_STATE, str(state))
    prepare = libvirt.script(script, UUID, str(state / "ours"), str(OWNER), "vda", "1048576")
    assert prepare.stdout is not None
    free, place = prepare.stdout.read().splitlines()
    assert int(free) > 0
    assert place == str(state / (expected or there[-1]))
    assert (state / "ours" / "vda").exists()


def test_a_cut_connection_makes_a_suspended_domain_run_at_once(libvirt: Libvirt) -> None:
    watch = libvirt.watch()
    tell(watch, "arm suspended", "armed")
    libvirt.state(SUSPENDED)
    libvirt.begins()
    assert ended(watch) == 0
    assert libvirt.is_running and not libvirt.has_job
    assert libvirt.log[0] == "resume"  # the domain is down until then
    assert not libvirt.scratch.exists() and not OWNER.exists()


def test_silence_counts_as_a_cut(libvirt: Libvirt) -> None:
    watch = libvirt.watch()
    tell(watch, "arm suspended", "armed")
    libvirt.state(SUSPENDED)
    assert watch.wait(20) == 0
    assert libvirt.is_running


def test_a_domain_that_was_shut_down_is_started(libvirt: Libvirt) -> None:
    watch = libvirt.watch()
    tell(watch, "arm stopped", "armed")
    libvirt.state(OFF)
    assert ended(watch) == 0
    assert libvirt.is_running


def test_after_its_end_nothing_is_undone(libvirt: Libvirt) -> None:
    watch = libvirt.watch()
    tell(watch, "arm suspended", "armed")
    libvirt.state(SUSPENDED)
    tell(watch, "end", "ended")
    assert ended(watch) == 0
    assert libvirt.log == []


def test_too_little_space_ends_the_job(libvirt: Libvirt) -> None:
    libvirt.begins()
    libvirt.state(FULL)
    watch = libvirt.watch(reserve=1 << 62)
    assert watch.wait(20) == 0
    assert libvirt.is_running and not libvirt.has_job


def test_the_job_is_watched_after_a_cut(libvirt: Libvirt) -> None:
    libvirt.begins()
    watch = libvirt.watch()
    assert watch.stdin is not None
    watch.stdin.close()
    wait_until(lambda: OWNER.exists() and "alone" in OWNER.read_text())
    assert libvirt.has_job
    libvirt.state(FULL)
    assert watch.wait(20) == 0
    assert libvirt.is_running and not libvirt.has_job


@pytest.mark.parametrize("suspend", [False, True])
def test_a_job_that_begins_after_a_cut_is_ended(libvirt: Libvirt, suspend: bool) -> None:
    """The command was under way when the connection was cut: nobody would watch its job."""
    watch = libvirt.watch()
    if suspend:
        tell(watch, "arm suspended", "armed")
    libvirt.sets("slow")
    late = begin(libvirt, suspend=suspend)
    if suspend:
        wait_until(lambda: "suspend" in libvirt.log)
    ended(watch)
    assert ended(late) == 1
    assert libvirt.is_running and not libvirt.has_job


@pytest.mark.parametrize("suspend", [False, True])
def test_a_watched_job_begins(libvirt: Libvirt, suspend: bool) -> None:
    watch = libvirt.watch()
    tell(watch, "arm suspended", "armed")
    assert ended(begin(libvirt, suspend=suspend)) == 0
    assert libvirt.has_job and libvirt.is_running is not suspend
    tell(watch, "end", "ended")


@pytest.mark.parametrize("suspend", [False, True])
def test_a_job_whose_begin_nobody_hears_is_ended(libvirt: Libvirt, suspend: bool) -> None:
    """A signal ended the copy, which then saw the domain run, and did not resume it later."""
    watch = libvirt.watch()
    tell(watch, "arm suspended", "armed")
    libvirt.sets("slow")
    late = begin(libvirt, suspend=suspend)
    assert late.stdout is not None
    late.stdout.close()
    assert ended(late) == 1
    assert libvirt.is_running and not libvirt.has_job
    tell(watch, "end", "ended")


def test_a_job_that_does_not_begin_leaves_the_domain_running(libvirt: Libvirt) -> None:
    libvirt.sets("broken")
    assert ended(begin(libvirt, suspend=True)) != 0
    assert libvirt.is_running


def test_the_files_of_a_job_stay_while_libvirt_does_not_answer(libvirt: Libvirt) -> None:
    libvirt.begins()
    libvirt.sets("down")
    words = (UUID, TOKEN, str(libvirt.scratch), "/none")
    assert ended(libvirt.script(job._END, *words)) != 0
    assert libvirt.scratch.exists()
    (libvirt.directory / "down").unlink()
    assert ended(libvirt.script(job._END, *words)) == 0
    assert not libvirt.has_job and not libvirt.scratch.exists()


@pytest.mark.parametrize("by_watch", [True, False])
def test_the_server_of_an_image_with_any_name_is_ended(libvirt: Libvirt, by_watch: bool) -> None:
    """Until its connection is found to be dead, it would keep the domain from starting."""
    path = '/srv/wéb "1".img'
    program = libvirt.directory / "qemu-nbd"
    program.write_text("#!/bin/bash\nread -r _\n")
    program.chmod(0o755)
    ours, others = [
        subprocess.Popen(
            [program, "--socket=/tmp/ganeti-instance-kit.x/nbd", driver_options("raw", name)],
            stdin=subprocess.PIPE,
        )
        for name in (path, f"{path}2")
    ]
    try:
        if by_watch:
            watch = libvirt.watch(path)
            tell(watch, "arm stopped", "armed")
            libvirt.state(OFF)
            assert ended(watch) == 0
        else:
            subprocess.run(servers.command([path]), check=True)
        assert ours.wait(5) != 0
        assert others.poll() is None
    finally:
        for process in (ours, others):
            process.kill()
            process.communicate()


@pytest.mark.parametrize("is_old", [False, True])
def test_a_libvirt_that_is_older_than_checkpoints_is_asked_for_the_rest(
    libvirt: Libvirt, is_old: bool
) -> None:
    if is_old:
        libvirt.sets("old")
    look = libvirt.script(facts._LOOK, UUID, "mark", "", "yes")
    assert look.stdout is not None
    printed = look.stdout.read()
    assert look.wait(20) == 0
    assert "mark checkpoints\n" in printed and "mark dominfo\n" in printed


@pytest.mark.parametrize("strict", [True, False])
def test_an_image_that_is_gone_is_no_obstacle_if_it_need_not_be_there(
    libvirt: Libvirt, strict: bool
) -> None:
    words = (UUID, "mark", "", "yes" if strict else "", "echo first", "exit 1 | false", "echo last")
    look = libvirt.script(facts._LOOK, *words)
    assert look.stdout is not None
    printed = look.stdout.read()
    assert (look.wait(20) == 0) is not strict
    assert ("mark image\nfirst\nmark image\nmark image\nlast\n" in printed) is not strict
