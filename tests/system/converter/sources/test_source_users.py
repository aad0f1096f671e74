"""Sources that something may write to are refused: a copy could be outdated or inconsistent."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from converter import paths
from converter.sources import image_file
from node.devices import claim, settling
from node.errors import KitError
from tests.system.converter import support
from tests.system.converter.nbd_device import hung
from tests.system.converter.support import MIB, REFUSED, qcow2raw

SIZE = 64 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"")
    os.truncate(disk, SIZE)
    support.output("mkfs.ext4", "-q", "-F", disk)
    return disk


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    with support.target(tmp_path / "target", SIZE) as device:
        yield device


@contextmanager
def mounted(disk: Path, place: Path, *, how: str = "rw") -> Iterator[Path]:
    """Mounted through a loop device, with a file that is in nobody's memory but the kernel's."""
    place.mkdir()
    support.output("mount", "-o", f"loop,{how}", disk, place)
    try:
        if how == "rw":
            (place / "file").write_bytes(support.noise(MIB, 1))
        yield place
    finally:
        support.output("umount", place)


def refused(source: Path, device: Path, *words: str, options: tuple[str, ...] = ()) -> None:
    before = support.digest(device)
    outcome = qcow2raw(*options, source, device)
    outcome.failed(REFUSED, f"source {source}: in use: ", *words)
    assert support.digest(device) == before


def test_a_file_that_is_mounted(disk: Path, device: Path, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    with mounted(disk, place):
        refused(disk, device, "/dev/loop", f"mounted on {place}", options=("--format=raw",))
    qcow2raw("--format=raw", disk, device).done()
    support.require_same(device, disk)


def test_a_foreign_image_that_is_attached(disk: Path, device: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk.vmdk"
    support.output("qemu-img", "convert", "-f", "raw", "-O", "vmdk", disk, image)
    with support.loop(image, read_only=False):
        refused(image, device, "attached as /dev/loop", options=("--format=vmdk",))
    qcow2raw("--format=vmdk", image, device).done()
    support.require_same(device, disk)


def test_what_only_reads_is_no_harm(disk: Path, device: Path, tmp_path: Path) -> None:
    with mounted(disk, tmp_path / "mnt", how="ro"), disk.open("rb"):
        qcow2raw("--format=raw", disk, device).done()
    support.require_same(device, disk)


def test_a_process_that_has_it_open_for_writing(disk: Path, device: Path) -> None:
    for source, options in ((disk, ("--format=raw",)), (device, ("--force",))):
        with source.open("r+b") as file, subprocess.Popen(["sleep", "60"], stdin=file) as process:
            file.close()
            there = device if source == disk else disk.with_name("new")
            more = options if source == disk else (*options, "--force-file")
            try:
                words = f"process {process.pid} (sleep) has it open for writing"
                outcome = qcow2raw(*more, source, there).failed(REFUSED, f"source {source}")
                assert words in outcome.error
            finally:
                process.kill()


@pytest.mark.skipif(not shutil.which("nbdfuse"), reason="needs nbdfuse")
def test_a_file_system_that_does_not_answer_is_not_asked(
    disk: Path, device: Path, tmp_path: Path
) -> None:
    """Another process has a file of it open: it is no business of a copy."""
    with hung(tmp_path):
        with support.loop(disk, read_only=True) as source:
            qcow2raw(source, device, timeout=30).done()
        with disk.open("r+b") as file, subprocess.Popen(["sleep", "60"], stdin=file) as process:
            file.close()
            try:
                refused(disk, device, f"process {process.pid}", options=("--format=raw",))
            finally:
                process.kill()
    support.require_same(device, disk)


def test_a_device_that_is_in_use_for_a_moment(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of udev, which looks at devices that are new or were written."""
    holder = os.open(device, os.O_RDONLY | os.O_EXCL)
    told = []

    def block_holder(path: Path) -> str:
        os.close(holder)
        told.append(path)
        return "udev"

    monkeypatch.setattr(claim, "block_holder", block_holder)
    with paths.open_source_file(device, str(device)) as fd:
        assert os.fstat(fd).st_rdev == device.stat().st_rdev
    assert told == [device]


def test_a_device_that_stays_in_use(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 0.2)
    holder = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        with (
            pytest.raises(KitError, match=f"source {device}: in use: another process has it open"),
            paths.open_source_file(device, str(device)),
        ):
            pass
    finally:
        os.close(holder)


def test_a_swap_file(disk: Path, device: Path, tmp_path: Path) -> None:
    file = tmp_path / "swap"
    file.write_bytes(bytes(SIZE))
    file.chmod(0o600)
    support.output("mkswap", "-q", file)
    tried = subprocess.run(["swapon", file], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this node cannot swap to a file")
    try:
        refused(file, device, "active as swap", options=("--format=raw",))
        outcome = qcow2raw("--format=raw", "--force", "--force-file", disk, file)
        outcome.failed(REFUSED, f"target {file}: in use: active as swap")
    finally:
        support.output("swapoff", file)


def test_a_file_that_is_attached_meanwhile(disk: Path) -> None:
    """What is written then comes to the file when it is unmounted."""
    fd = os.open(disk, os.O_RDONLY)
    try:
        source = image_file.LocalFile(fd, "disk")
        source.check_unchanged()
        with (
            support.loop(disk, read_only=False) as loop,
            pytest.raises(KitError, match=f"it was attached as {loop} while"),
        ):
            source.check_unchanged()
        source.check_unchanged()
    finally:
        os.close(fd)


def test_a_file_that_is_replaced_meanwhile(disk: Path) -> None:
    fd = os.open(disk, os.O_RDONLY)
    try:
        source = image_file.LocalFile(fd, str(disk))
        disk.rename(disk.with_name("moved"))
        source.check_unchanged()
        disk.write_bytes(b"another")
        with pytest.raises(KitError, match="it was replaced by another while"):
            source.check_unchanged()
    finally:
        os.close(fd)


def written(device: Path, place: int) -> None:
    """By a program that is gone afterwards, and whose bytes may be in the page cache still."""
    with device.open("r+b", buffering=0) as file:
        file.seek(place)
        file.write(b"changed")


def test_a_device_that_is_written_to_meanwhile(device: Path) -> None:
    """In its middle: its beginning is the same."""
    fd = os.open(device, os.O_RDONLY)
    try:
        written(device, 16 * MIB)
        source = image_file.LocalFile(fd, str(device))
        with closing(source.pages):
            source.check_unchanged()
            written(device, 32 * MIB)
            with pytest.raises(KitError, match="it changed while it was copied"):
                source.check_unchanged()
    finally:
        os.close(fd)
