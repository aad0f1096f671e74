"""Copies of a machine that writes all the time; and all that can break meanwhile."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.host import ENVIRONMENT

from .lab import Lab
from .writer import COPIED, DATA, INSTANCE, NAME, ROOT, SWAP, SWAP_UUID, Writer, there

COPY = ("instance-kit", "import", "copy")
# Bytes a second: slow enough to break things meanwhile.
SLOW = ("--rate", "4M")
SCRATCH = "/srv/small"
# What `pkill -f` looks for; the brackets keep it from finding the programs that run pkill itself.
PROCESSES = "[i]nstance_kit.py import copy|[i]nstance-kit import copy"
AGENT = "^python3 -IS -c"


@pytest.fixture(scope="module")
def guest(clean_lab: Lab) -> Iterator[Writer]:
    with there(clean_lab) as writer:
        yield writer


@pytest.fixture
def writer(guest: Writer) -> Writer:
    guest.make()
    return guest


def copy(writer: Writer, *options: str) -> str:
    done = writer.node.run([*COPY, writer.plan, *options])
    return done.stdout + done.stderr


def fails(writer: Writer, *options: str) -> str:
    done = writer.node.run([*COPY, writer.plan, *options], check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    return done.stderr


def begun(writer: Writer, *options: str) -> subprocess.Popen[str]:
    """A copy that runs."""
    return subprocess.Popen(
        writer.node.argv([*COPY, writer.plan, *options]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )


def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.1)


def ended(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=180)
    return said


def killed(writer: Writer, process: subprocess.Popen[str]) -> None:
    """SIGKILL for the copy; nobody of ours cleans up."""
    writer.node.run(["pkill", "-KILL", "-f", PROCESSES])
    process.communicate(timeout=60)


def downtime(said: str) -> float:
    found = re.search(r"was down for ([0-9.]+) s", said)
    assert found, said
    return float(found[1])


def passes(writer: Writer) -> list[dict[str, object]]:
    state = writer.node.run(["instance-kit", "import", "status", INSTANCE, "--json"]).stdout
    found: list[dict[str, object]] = json.loads(state)[0]["passes"]
    return found


def bitmaps(writer: Writer) -> list[str]:
    found = []
    for disk in (ROOT, DATA):
        told = writer.kvm.run(["qemu-img", "info", "-U", "--output=json", disk.path]).stdout
        found += json.loads(told)["format-specific"]["data"].get("bitmaps", [])
    return found


def assert_nothing_is_left(writer: Writer) -> None:
    assert writer.checkpoints() == []
    assert not writer.has_job()
    left = "find /run /var/lib/libvirt/qemu /tmp /srv -name 'ganeti-instance-kit*'"
    assert writer.kvm.run(["sh", "-c", left]).stdout == ""


@pytest.mark.trixie
def test_passes_and_the_last_one_while_it_is_suspended(writer: Writer) -> None:
    foreseen = copy(writer, "--dry-run")
    assert "disk vda: all of it is copied" in foreseen
    assert writer.checkpoints() == []
    copy(writer)
    first = writer.checkpoints()
    assert len(first) == 1
    said = copy(writer, "--again")
    assert "disk vda: what has changed is copied" in said
    assert f"disk {COPIED[2].target}: its blocks are compared" in said
    second = writer.checkpoints()
    assert len(second) == 1 and second != first
    foreseen = copy(writer, "--final", "--dry-run")
    assert re.search(r"if it came now: .* to copy, 128 MiB to compare, about \d+ s", foreseen)
    assert writer.state.startswith("running")
    said = copy(writer, "--final", "--suspend")
    assert downtime(said) < 20
    assert writer.state == "paused (user)"
    assert writer.differing() == []
    assert_nothing_is_left(writer)
    volume = ["blkid", "-p", "-s", "UUID", "-o", "value", SWAP.volume]
    assert writer.node.run(volume).stdout.strip() == SWAP_UUID
    found = passes(writer)
    assert [each["final"] for each in found] == [False, False, False, True]
    assert isinstance(found[-1]["downtime"], float)


@pytest.mark.trixie
def test_the_last_pass_after_a_shutdown(writer: Writer) -> None:
    said = copy(writer, "--final")
    assert "all of it is copied" in said
    assert "disk vda: what has changed is copied" in said
    assert downtime(said) < 30
    assert writer.state.startswith("shut off")
    assert writer.differing() == []
    assert bitmaps(writer) == []
    assert_nothing_is_left(writer)
    # It was started again: what it has written since is found without bitmaps.
    writer.kvm.virsh("start", NAME)
    time.sleep(2)
    assert "its blocks are compared" in copy(writer, "--again")
    copy(writer, "--final")
    assert writer.differing() == []


def test_a_machine_that_is_off_is_copied(writer: Writer) -> None:
    writer.kvm.virsh("destroy", NAME)
    said = copy(writer, "--final")
    assert "was down" not in said
    assert writer.differing() == []
    assert_nothing_is_left(writer)


def test_a_killed_copy_goes_on_with_its_job(writer: Writer) -> None:
    process = begun(writer, *SLOW)
    wait(writer.has_job)
    time.sleep(3)
    killed(writer, process)
    assert writer.has_job()
    assert writer.writes_on()
    said = copy(writer)
    assert "the backup job of an interrupted run goes on" in said
    assert "going on at" in said
    copy(writer, "--final", "--suspend")
    assert writer.differing() == []
    assert_nothing_is_left(writer)


def test_a_copy_that_is_stopped_leaves_no_job_and_goes_on(writer: Writer) -> None:
    process = begun(writer, *SLOW)
    wait(writer.has_job)
    time.sleep(3)
    writer.node.run(["pkill", "-TERM", "-f", PROCESSES])
    said = ended(process)
    assert process.returncode == 128 + 15, said
    assert not writer.has_job()
    assert "going on at" not in copy(writer)  # another job reads another moment
    copy(writer, "--final", "--suspend")
    assert writer.differing() == []


def test_a_cut_connection_is_made_again(writer: Writer) -> None:
    process = begun(writer, *SLOW)
    wait(writer.has_job)
    time.sleep(2)
    writer.kvm.run(["pkill", "-KILL", "-f", "^sshd(-session)?: root"])
    said = ended(process)
    assert process.returncode == 0, said
    assert "trying again" in said and "the backup job of an interrupted run goes on" in said
    copy(writer, "--final", "--suspend")
    assert writer.differing() == []
    assert_nothing_is_left(writer)


def test_a_killed_libvirtd_does_not_matter(writer: Writer) -> None:
    process = begun(writer, *SLOW)
    wait(writer.has_job)
    writer.kvm.run(["sh", "-c", "pkill -KILL -x libvirtd; sleep 1; libvirtd --daemon"])
    assert (process.wait(180), ended(process))[0] == 0
    copy(writer, "--final", "--suspend")
    assert writer.differing() == []
    assert_nothing_is_left(writer)


def test_after_a_killed_qemu_blocks_are_compared(writer: Writer) -> None:
    copy(writer)
    process = begun(writer, "--again", *SLOW)
    wait(writer.has_job)
    writer.kvm.run(["pkill", "-KILL", "-f", f"^/usr/bin/qemu-system-x86_64 -name guest={NAME}"])
    said = ended(process)
    assert process.returncode == 3, said
    assert f"error: copy of {NAME}: it is off now (crashed)" in said
    writer.kvm.virsh("start", NAME)
    said = copy(writer, "--again")
    assert "bitmaps of its disks are lost" in said
    assert "disk vda: its blocks are compared" in said
    assert "disk vda: what has changed is copied" in copy(writer, "--final")
    assert writer.differing() == []
    assert bitmaps(writer) == []
    assert_nothing_is_left(writer)


@pytest.fixture
def small(writer: Writer) -> Iterator[str]:
    """A file system of the KVM host that is full soon."""
    writer.kvm.run(["mkdir", SCRATCH])
    writer.kvm.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "tmpfs", SCRATCH])
    try:
        yield SCRATCH
    finally:
        writer.kvm.run(["umount", SCRATCH])
        writer.kvm.run(["rmdir", SCRATCH])


def test_too_little_room_for_scratch_files_is_seen_before(writer: Writer, small: str) -> None:
    assert "MiB are free there; 1 GiB have to stay free" in fails(writer, "--scratch", small)
    assert not writer.has_job()
    assert writer.kvm.run(["ls", small]).stdout == ""


@pytest.mark.parametrize("reserve", ["5M", "0"])
def test_a_full_scratch_file_system_does_not_stop_the_guest(
    writer: Writer, small: str, reserve: str
) -> None:
    options = ("--scratch", small, "--reserve", reserve)
    why = "the guest was paused by an I/O error" if reserve == "0" else "have only"
    said = fails(writer, *options, "--rate", "1M")
    assert f"error: copy of {NAME}: aborted" in said and why in said
    assert writer.state.startswith("running")
    assert writer.writes_on()
    assert not writer.has_job()
    assert writer.kvm.run(["ls", small]).stdout == ""
    assert "going on at" not in copy(writer)  # another job reads another moment
    copy(writer, "--final", "--suspend")
    assert writer.differing() == []
    assert_nothing_is_left(writer)


@pytest.mark.parametrize(
    ("options", "stopped"), [(("--suspend",), "paused"), ((), "shut off")], ids=str
)
def test_killed_in_the_last_pass_it_runs_again(
    writer: Writer, options: tuple[str, ...], stopped: str
) -> None:
    copy(writer)
    process = begun(writer, "--final", *options, *SLOW)
    writer.until(stopped)
    killed(writer, process)
    writer.until("running", 20)
    assert writer.writes_on()
    copy(writer, "--final", *options)
    assert writer.state.startswith(stopped)
    assert writer.differing() == []
    assert_nothing_is_left(writer)


@pytest.mark.parametrize(
    ("options", "stopped"), [(("--suspend",), "paused"), ((), "shut off")], ids=str
)
def test_when_the_last_pass_fails_it_runs_again(
    writer: Writer, options: tuple[str, ...], stopped: str
) -> None:
    copy(writer)
    process = begun(writer, "--final", *options, *SLOW)
    writer.until(stopped)
    writer.kvm.run(["pkill", "-KILL", "-f", "^sshd(-session)?: root"])
    said = ended(process)
    assert process.returncode == 3, said
    writer.until("running", 20)
    assert writer.writes_on()
    copy(writer, "--final", *options)
    assert writer.differing() == []
    assert_nothing_is_left(writer)


def test_a_last_pass_that_takes_too_long_is_refused_or_ended(writer: Writer) -> None:
    copy(writer)
    said = fails(writer, "--final", "--suspend", "--max-downtime", "1")
    assert re.search(r"its last pass takes about \d+ s, but may take 1 s; it was not stopped", said)
    assert writer.state.startswith("running")
    # The agent does not answer any more as soon as it is there.
    stop = f"until virsh domstate {NAME} | grep -q paused; do sleep 0.1; done"
    stop += f"; until pkill -STOP -f '{AGENT}'; do sleep 0.01; done"
    stopping = subprocess.Popen(writer.kvm.argv(["bash", "-c", stop]), env=ENVIRONMENT)
    process = begun(writer, "--final", "--suspend", "--max-downtime", "30")
    try:
        writer.until("paused", 120)
        began = time.monotonic()
        writer.until("running", 60)
        assert 20 < time.monotonic() - began < 45
        said = ended(process)
        assert stopping.wait(10) == 0
    finally:
        stopping.kill()
        writer.kvm.run(["pkill", "-CONT", "-f", AGENT], check=False)
    assert process.returncode == 3, said
    assert f"error: copy of {NAME}: its last pass is not complete after 30 s" in said
    assert writer.writes_on()
    copy(writer, "--final", "--suspend")
    assert writer.state == "paused (user)"
    assert writer.differing() == []
    assert_nothing_is_left(writer)


def test_a_guest_that_does_not_shut_down_runs_on(guest: Writer) -> None:
    guest.make(deaf=True)
    copy(guest)
    said = fails(guest, "--final", "--shutdown-seconds", "3")
    assert f"{NAME} has not shut down within 3 s; it runs on" in said
    assert guest.state.startswith("running")
    assert guest.writes_on()
    copy(guest, "--final", "--shutdown-seconds", "3", "--destroy")
    assert guest.state.startswith("shut off")
    assert guest.differing() == []
    assert_nothing_is_left(guest)


def test_a_foreign_job_is_left_alone(writer: Writer) -> None:
    directory = "/var/lib/libvirt/qemu/foreign"
    writer.kvm.run(["install", "-d", "--owner=libvirt-qemu", "--mode=700", directory])
    xml = f"<domainbackup mode='pull'><server transport='unix' socket='{directory}/nbd'/>"
    xml += f"<disks><disk name='vda' type='file'><scratch file='{directory}/vda'/></disk>"
    xml += "".join(f"<disk name='{name}' backup='no'/>" for name in ("vdb", "vdc", "vdd"))
    writer.kvm.virsh("backup-begin", NAME, "/dev/stdin", input=f"{xml}</disks></domainbackup>")
    assert "a backup job of another program" in fails(writer)
    assert writer.has_job()
    writer.kvm.virsh("domjobabort", NAME)
    wait(lambda: not writer.has_job())
    writer.kvm.run(["rm", "-rf", directory])
    copy(writer)
