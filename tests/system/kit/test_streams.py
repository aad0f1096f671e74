"""Disks become streams, and streams disks, by the verbs of instance-kit."""

import json
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from backup.streams.stream import ENDS_SIZE
from tests.system.backup import support
from tests.system.backup.damage import cut
from tests.system.backup.support import MIB, TOP, Outcome, made, noise
from tests.system.converter.support import wait_until
from tests.system.installer.support import loop, output

SIZE = 96 * MIB
PROGRAM = ["/usr/bin/python3", "-I", str(TOP / "kit/instance_kit.py")]
MOMENTS = 6
FAILED = 3


@dataclass(frozen=True)
class Ran(Outcome):
    """What a verb printed to stdout, besides."""

    out: str = ""


def kit(*words: str | Path, stdin: "int | IO[bytes] | None" = None) -> Ran:
    ran = subprocess.run(
        [*PROGRAM, *map(str, words)],
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=support.SECONDS,
    )
    return Ran(ran.returncode, ran.stderr, out=ran.stdout)


@contextmanager
def started(
    *words: str | Path,
    stdin: "int | IO[bytes]" = subprocess.DEVNULL,
    stdout: "int | IO[bytes]" = subprocess.DEVNULL,
) -> Iterator["subprocess.Popen[bytes]"]:
    argv = [*PROGRAM, *map(str, words)]
    with subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: "subprocess.Popen[bytes]") -> Outcome:
    _, stderr = process.communicate(timeout=support.SECONDS)
    return Outcome(process.returncode, stderr.decode())


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> support.Disk:
    return made(tmp_path_factory.mktemp("disk") / "disk", "gpt", "ext4", SIZE)


@pytest.fixture(scope="module")
def dump(disk: support.Disk) -> Path:
    path = disk.path.with_name("dump")
    kit("export", disk.path, path).done()
    return path


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    with loop(noise(tmp_path / "target", SIZE), read_only=False) as device:
        yield device


@pytest.mark.quick
@pytest.mark.trixie
def test_a_disk_is_exported_verified_and_restored(
    disk: support.Disk, dump: Path, target: Path, tmp_path: Path
) -> None:
    assert dump.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in dump.parent.iterdir()) == ["disk", "dump"]
    assert kit("verify", dump).done().out.startswith(f"{dump}: whole\n")
    kit("restore", dump, target).done()
    restored = tmp_path / "target"
    support.require_restored(disk, restored)
    assert support.manifest(disk, restored) == support.manifest(disk, disk.path)

    # Somebody with nothing but zstd gets the same.
    by_hand = tmp_path / "by-hand"
    output("sh", "-c", f"zstd -dc {dump} | dd of={by_hand} bs=1M status=none")
    output("cmp", by_hand, restored)


def test_an_export_is_piped_into_a_restore(disk: support.Disk, target: Path) -> None:
    with started("export", disk.path, "--quiet", "-", stdout=subprocess.PIPE) as process:
        kit("restore", "-", target, stdin=process.stdout).done()
        ended(process).done()
    support.require_restored(disk, target)


def test_a_disk_becomes_a_new_file(disk: support.Disk, dump: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    kit("restore", dump, new).failed("does not exist", exit_code=FAILED)
    assert not new.exists()
    kit("restore", dump, new, "--force-file").done()
    assert new.stat().st_size == SIZE
    support.require_restored(disk, new)
    raw = tmp_path / "raw"
    kit("restore", new, raw, "--force-file").done()
    output("cmp", new, raw)


def test_what_a_disk_holds_is_not_overwritten_unless_asked(dump: Path, tmp_path: Path) -> None:
    old = made(tmp_path / "old", "msdos", "ext4", SIZE)
    before = output("sha256sum", old.path)
    with loop(old.path, read_only=False) as device:
        refused = kit("restore", dump, device).failed("it holds", "dos", exit_code=FAILED)
        assert "--force" in refused.hint
    refused = kit("restore", dump, old.path, "--force").failed("a file", exit_code=FAILED)
    assert "--force-file" in refused.hint
    assert output("sha256sum", old.path) == before
    with loop(old.path, read_only=False) as device:
        kit("restore", dump, device, "--force").done()


@pytest.mark.parametrize(("answer", "exit_code"), [("n", FAILED), ("y", 0)])
def test_on_a_terminal_the_user_is_asked(
    answer: str, exit_code: int, dump: Path, target: Path
) -> None:
    output("mkfs.ext4", "-q", "-L", "old", target)
    ours, theirs = pty.openpty()
    argv = [*PROGRAM, "restore", str(dump), str(target)]
    with subprocess.Popen(argv, stdin=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        said = b""
        while piece := read_terminal(ours):
            said += piece
        assert process.wait(support.SECONDS) == exit_code, said
    os.close(ours)
    assert b"holds ext4, label old" in said and b"Overwrite it? [y/N]" in said
    assert ("old" in support.found_on(target)) == (answer == "n")


def read_terminal(fd: int) -> bytes:
    """What comes next; nothing once its other end is closed."""
    try:
        return os.read(fd, 1000)
    except OSError:
        return b""


def test_a_disk_that_is_in_use_is_refused(dump: Path, target: Path, tmp_path: Path) -> None:
    output("mkfs.ext4", "-q", target)
    (tmp_path / "there").mkdir()
    with support.mounted(target, tmp_path / "mnt"):
        kit("restore", dump, target, "--force").failed("in use", exit_code=FAILED)
        kit("export", target, tmp_path / "there/dump").failed("in use", exit_code=FAILED)
    with (tmp_path / "target").open("r+b"):
        kit("export", tmp_path / "target", tmp_path / "there/dump").failed(
            "in use", exit_code=FAILED
        )
    assert list((tmp_path / "there").iterdir()) == []


def test_a_smaller_disk_is_refused_with_the_size_that_is_needed(dump: Path, tmp_path: Path) -> None:
    small = noise(tmp_path / "small", 20 * MIB)
    before = output("sha256sum", small)
    refused = kit("restore", dump, small, "--force", "--force-file").failed(
        "this backup needs", exit_code=FAILED
    )
    assert "the smallest disk that is likely to work" in refused.hint
    assert output("sha256sum", small) == before


def test_a_stream_does_not_overwrite_itself(dump: Path) -> None:
    before = output("sha256sum", dump)
    options = ("--force", "--force-file")
    kit("restore", dump, dump, *options).failed("the source itself", exit_code=FAILED)
    assert output("sha256sum", dump) == before


@pytest.mark.parametrize("name", ["", "/nowhere/dump", "/dev/null", "/"])
def test_what_holds_no_stream(name: str, tmp_path: Path) -> None:
    kit("restore", name, tmp_path / "new", "--force-file").failed(name, exit_code=FAILED)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_stream_leaves_no_disk_that_looks_whole(dump: Path, target: Path) -> None:
    damaged = dump.with_name("damaged")
    damaged.write_bytes(cut("trailer")(dump.read_bytes()))
    kit("restore", damaged, target).failed("ends within a frame", exit_code=FAILED)
    assert support.found_on(target) == ""
    damaged.unlink()
    kit("restore", dump, target).done()


class TestFilesOfExports:
    def test_an_older_export_is_replaced_if_asked(
        self, disk: support.Disk, dump: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "dump"
        file.write_bytes(b"other")
        kit("export", disk.path, file, "--force").failed("holds no stream", exit_code=FAILED)
        assert file.read_bytes() == b"other"
        file.write_bytes(dump.read_bytes()[:100])
        assert "--force" in kit("export", disk.path, file).failed("exists", exit_code=FAILED).hint
        assert file.stat().st_size == 100
        kit("export", disk.path, file, "--force").done()
        kit("verify", file).done()
        assert list(tmp_path.iterdir()) == [file]

    def test_what_is_no_file_is_not_replaced(self, disk: support.Disk, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("nowhere")
        for name in (tmp_path, tmp_path / "link", "/dev/null", ""):
            kit("export", disk.path, name, "--force").failed("file ", exit_code=FAILED)
        kit("export", disk.path, "/nowhere/dump").failed("No such file", exit_code=FAILED)
        assert [path.name for path in tmp_path.iterdir()] == ["link"]

    def test_a_disk_or_stream_is_not_replaced_by_its_stream(
        self, dump: Path, tmp_path: Path
    ) -> None:
        disk, stream = noise(tmp_path / "disk", MIB), tmp_path / "dump"
        stream.write_bytes(dump.read_bytes())
        before = output("sha256sum", disk, stream)
        kit("export", disk, disk, "--force").failed("holds no stream", exit_code=FAILED)
        kit("export", stream, stream, "--force").failed("no disk", exit_code=FAILED)
        assert output("sha256sum", disk, stream) == before
        assert sorted(tmp_path.iterdir()) == [disk, stream]

    def test_a_name_that_is_taken_meanwhile_stays(self, disk: support.Disk, tmp_path: Path) -> None:
        file = tmp_path / "dump"
        with started("export", disk.path, file) as process:
            wait_until(lambda: bool(list(tmp_path.glob(".dump.*.part"))))
            file.write_bytes(b"other")
            ended(process).failed("it exists", exit_code=FAILED)
        assert file.read_bytes() == b"other" and list(tmp_path.iterdir()) == [file]

    def test_a_full_file_system_keeps_no_part(self, tmp_path: Path) -> None:
        disk, full = tmp_path / "disk", tmp_path / "full"
        disk.write_bytes(os.urandom(24 * MIB))
        full.mkdir()
        output("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", full)
        try:
            outcome = kit("export", disk, full / "dump").failed(
                "No space left on device", exit_code=FAILED
            )
            assert "will be needed, and 12 MiB are free" in outcome.stderr
            assert list(full.iterdir()) == []
        finally:
            output("umount", full)

    def test_an_image_of_another_format_is_no_disk(self, tmp_path: Path) -> None:
        image = tmp_path / "image"
        output("qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
        refused = kit("export", image, tmp_path / "dump").failed("qcow2", exit_code=FAILED)
        assert "qcow2raw" in refused.hint
        assert list(tmp_path.iterdir()) == [image]

    def test_a_signal_ends_it_while_a_socket_takes_no_more(self, disk: support.Disk) -> None:
        """As sshd has it."""
        ours, theirs = socket.socketpair()
        with started("export", disk.path, "-", stdout=theirs.fileno()) as process:
            theirs.close()
            assert ours.recv(100)
            time.sleep(1)  # until it is full
            process.send_signal(signal.SIGTERM)
            ended(process).failed("stopped by SIGTERM", exit_code=128 + signal.SIGTERM)
        ours.close()

    def test_a_terminal_gets_no_stream(self, disk: support.Disk) -> None:
        ours, theirs = pty.openpty()
        with started("export", disk.path, "-", stdout=theirs) as process:
            ended(process).failed("a terminal", exit_code=FAILED)
        os.close(ours)
        os.close(theirs)

    def test_a_reader_that_goes_is_an_error(self, disk: support.Disk) -> None:
        here, there = os.pipe()
        with started("export", disk.path, "-", stdout=there) as process:
            os.close(there)
            assert os.read(here, 100)
            os.close(here)
            ended(process).failed("what reads the stream has ended", exit_code=FAILED)
        with (
            Path("/dev/full").open("wb") as full,
            started("export", disk.path, "-", stdout=full) as process,
        ):
            ended(process).failed("No space left on device", exit_code=FAILED)


def has(directory: Path, size: int) -> bool:
    """Whether a file in a directory has so many bytes."""
    try:
        return max((path.stat().st_size for path in directory.iterdir()), default=0) >= size
    except FileNotFoundError:  # it got its name meanwhile
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_export_that_is_ended_leaves_nothing_that_the_next_does_not_clear(
    number: signal.Signals, disk: support.Disk, dump: Path, tmp_path: Path
) -> None:
    for moment in range(MOMENTS):
        with started("export", disk.path, tmp_path / "dump") as process:
            wait_until(partial(has, tmp_path, dump.stat().st_size * moment // MOMENTS))
            process.send_signal(number)
            outcome = ended(process)
        if (tmp_path / "dump").exists():  # it was done by then
            kit("verify", tmp_path / "dump").done()
            (tmp_path / "dump").unlink()
        elif number is signal.SIGTERM and moment:
            outcome.failed(f"stopped by {number.name}", exit_code=128 + number)
            assert list(tmp_path.iterdir()) == []
    kit("export", disk.path, tmp_path / "dump").done()
    assert list(tmp_path.iterdir()) == [tmp_path / "dump"]
    kit("verify", tmp_path / "dump").done()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restore_that_is_ended_leaves_no_disk_that_looks_whole(
    number: signal.Signals, disk: support.Disk, dump: Path, target: Path
) -> None:
    content = dump.read_bytes()
    for moment in range(1, MOMENTS):
        here, there = os.pipe()
        with started("restore", "-", target, stdin=here) as process:
            os.close(here)
            os.write(there, content[: (len(content) - ENDS_SIZE - MIB) * moment // MOMENTS])
            process.send_signal(number)
            outcome = ended(process)
        os.close(there)
        if outcome.exit_code != -number:
            outcome.failed(f"stopped by {number.name}", exit_code=128 + number)
        assert support.found_on(target) == ""
    kit("restore", dump, target).done()
    support.require_restored(disk, target)


def test_for_programs(disk: support.Disk, dump: Path) -> None:
    (found,) = json.loads(kit("verify", dump, "--json").done().out)
    assert (found["file"], found["state"], found["why"]) == (str(dump), "whole", None)
    header = found["header"]
    assert (header["size"], header["partition_table"]) == (SIZE, "gpt")
    (root,) = [area for area in header["areas"] if area["type"] == "ext4"]
    assert (root["start"], root["length"]) == (disk.start, disk.length)
    assert root["uuid"] in output("blkid", "-p", "-O", str(disk.start), disk.path)
