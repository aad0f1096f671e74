"""Disks that fail or are in use, readers that go, signals at any moment, and little memory."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup import import_
from backup.streams.stream import ENDS_SIZE
from tests.system.backup import support
from tests.system.backup.support import MIB, Script, exported, imported, made, noise
from tests.system.converter.nbd_device import served
from tests.system.converter.support import wait_until
from tests.system.installer.support import loop, output

SIZE = 96 * MIB
MOMENTS = 10


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> support.Disk:
    return made(tmp_path_factory.mktemp("disk") / "disk", "msdos", "ext4", SIZE)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    with loop(noise(tmp_path / "target", SIZE), read_only=False) as device:
        yield device


@pytest.mark.parametrize("stage", ["the last bytes", "the flush at the end"])
def test_a_disk_that_fails_at_the_end_leaves_the_sender_unread(
    stage: str, dump: Path, tmp_path: Path
) -> None:
    """move-instance removes the source once all was read, whatever the import says then."""
    file, trigger = noise(tmp_path / "disk", SIZE), tmp_path / "fail"
    faulty = (
        *("--filter=error", "--filter=nozero", "file", file, "zeromode=none"),
        *("error-pwrite=EIO", "error-pwrite-rate=100%", f"error-pwrite-file={trigger}"),
    )
    content = dump.read_bytes()
    with served(tmp_path, *faulty) as device:
        here, there = os.pipe()
        script = Script("import", device.path, stdin=here)
        os.close(here)
        last = len(content) - ENDS_SIZE - 300  # within the trailer: all frames are there
        send(there, content[:last])
        if stage == "the last bytes":
            trigger.touch()
        else:
            wait_until(lambda: "exported by" in script.stderr)
            time.sleep(1)  # all is written but what comes last
            trigger.touch()
        left = send(there, content[last:])
        os.close(there)
        outcome = script.wait().failed("Input/output error")
        assert left > ENDS_SIZE - MIB, outcome
        trigger.unlink()
        assert support.found_on(device.path) == ""


def send(pipe: int, content: bytes) -> int:
    """Writes to a pipe until nobody reads any more; returns how many bytes are left."""
    left = memoryview(content)
    try:
        while left:
            left = left[os.write(pipe, left[: 64 << 10]) :]
    except BrokenPipeError:
        pass
    return len(left)


def test_a_reader_that_goes_is_an_error(disk: support.Disk) -> None:
    here, there = os.pipe()
    script = Script("export", disk.path, stdout=there)
    os.close(there)
    assert len(os.read(here, 1000)) > 8
    os.close(here)
    script.wait().failed("what reads the stream has ended")


def test_a_full_disk_is_an_error(disk: support.Disk) -> None:
    with Path("/dev/full").open("wb") as full:
        Script("export", disk.path, stdout=full).wait().failed("No space left on device")


def test_a_disk_that_cannot_be_read_is_an_error(disk: support.Disk, tmp_path: Path) -> None:
    bad = ("--filter=error", "file", disk.path, "error-pread=EIO", "error-pread-rate=100%")
    trigger = tmp_path / "fail"
    with served(tmp_path, *bad, f"error-pread-file={trigger}", read_only=True) as device:
        here, there = os.pipe()
        script = Script("export", device.path, stdout=there)
        os.close(there)
        assert os.read(here, 1)
        trigger.touch()
        while os.read(here, 1 << 16):
            pass
        os.close(here)
        script.wait().failed("Input/output error")


def test_a_disk_in_use_is_refused(dump: Path, tmp_path: Path) -> None:
    """By a machine that runs from it."""
    used = noise(tmp_path / "used", SIZE)
    qemu = ["qemu-io", "-f", "raw", used]
    with subprocess.Popen(qemu, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as io:
        assert io.stdin is not None and io.stdout is not None
        print("length", file=io.stdin, flush=True)
        assert "96 MiB" in io.stdout.readline()
        exported(used, tmp_path / "dump").failed("in use")
        outcome = imported(used, dump).failed("in use")
        assert outcome.unread > ENDS_SIZE
        io.stdin.close()


def test_a_disk_that_is_written_to_meanwhile_is_an_error(tmp_path: Path) -> None:
    file = noise(tmp_path / "disk", SIZE)
    here, there = os.pipe()
    script = Script("export", file, stdout=there)
    os.close(there)
    assert os.read(here, 1)
    with file.open("r+b") as opened:
        opened.write(b"x")
    os.utime(file)
    while os.read(here, 1 << 16):
        pass
    os.close(here)
    script.wait().failed("changed while it was copied")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_export_that_is_ended_leaves_nothing(
    number: signal.Signals, disk: support.Disk, tmp_path: Path
) -> None:
    """Whatever moment it comes at; here, also while the reader does not read."""
    before = output("sha256sum", disk.path)
    for moment in range(MOMENTS):
        here, there = os.pipe()
        script = Script("export", disk.path, stdout=there)
        os.close(there)
        time.sleep(0.08 * moment)
        if moment > 7:
            os.read(here, 16 << 20)
            time.sleep(0.1)
        script.kill(number)
        outcome = script.wait()
        os.close(here)
        require_ended(outcome, number)
    assert output("sha256sum", disk.path) == before
    exported(disk.path, tmp_path / "dump").done()


def require_ended(outcome: support.Outcome, number: signal.Signals) -> None:
    # While Python starts, a signal has its default action.
    if outcome.exit_code != -number:
        outcome.failed(f"stopped by {number.name}", exit_code=128 + number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_import_that_is_ended_leaves_nothing(
    number: signal.Signals, disk: support.Disk, dump: Path, target: Path
) -> None:
    content = dump.read_bytes()
    for moment in range(MOMENTS):
        here, there = os.pipe()
        script = Script("import", target, stdin=here)
        os.close(here)
        if moment:
            send(there, content[: (len(content) - ENDS_SIZE) * moment // MOMENTS])
            wait_until(lambda script=script: "exported by" in script.stderr)  # type: ignore[misc]
            time.sleep(0.05)
        script.kill(number)
        require_ended(script.wait(), number)
        os.close(there)
        if moment:
            assert support.found_on(target) == ""
    imported(target, dump).done()
    support.require_restored(disk, target)


def test_a_signal_while_the_end_is_awaited_loses_nothing(
    disk: support.Disk, dump: Path, target: Path
) -> None:
    """The disk is whole by then, and the sender may have removed its own."""
    content = dump.read_bytes()
    here, there = os.pipe()
    script = Script("import", target, stdin=here)
    os.close(here)
    send(there, content[:-MIB])
    wait_until(lambda: support.found_on(target) != "")
    time.sleep(1)  # until it is read back
    script.kill(signal.SIGTERM)
    script.wait().failed("stopped by SIGTERM", exit_code=128 + signal.SIGTERM)
    os.close(there)
    assert output("blkid", "-p", target, check=False) == ""
    (head,) = import_.HEADS.iterdir()
    output("dd", f"if={head}", f"of={target}", "bs=1M", "conv=notrunc")
    head.unlink()
    support.require_restored(disk, target)


def test_memory_does_not_grow_with_the_disk(tmp_path: Path) -> None:
    """256 MiB that do not compress, and holes up to a TiB."""
    file = tmp_path / "disk"
    with file.open("wb") as opened:
        for number in range(64):
            opened.seek(number * 16 << 30)
            opened.write(os.urandom(4 * MIB))
        opened.truncate(1 << 40)
    output("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", file)
    outcome = exported(file, tmp_path / "dump").done()
    assert 0 < outcome.peak < 128 * MIB
    restored = tmp_path / "restored"
    with restored.open("wb") as opened:
        opened.truncate(1 << 40)
    outcome = imported(restored, tmp_path / "dump").done()
    assert 0 < outcome.peak < 128 * MIB


def test_only_the_device_that_is_named_is_read(disk: support.Disk, tmp_path: Path) -> None:
    """The others may be live disks, of which it is a snapshot: here, opening one would hang."""
    os.mkfifo(live := tmp_path / "live")
    exported(disk.path, tmp_path / "dump", DISK_0_PATH=str(live)).done()
