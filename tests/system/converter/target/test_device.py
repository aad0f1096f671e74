"""Real devices as targets: which ones are refused, and that these stay unchanged."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from converter.buffers import PAGE, buffer
from converter.errors import TargetIsFile, TargetNotEmpty
from converter.target import device as target
from node.devices import settling, udev
from node.errors import KitError
from tests.system.installer import support as create_support
from tests.system.installer.support import output

MIB = 1 << 20
SIZE = 16 * MIB
loop = partial(create_support.loop, read_only=False)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 0.3)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"")
    os.truncate(path, SIZE)
    return path


@pytest.fixture
def device(disk: Path) -> Iterator[Path]:
    with loop(disk) as attached:
        yield Path(attached)


def refused(path: Path, *words: str, **options: Any) -> KitError:
    with pytest.raises(KitError) as caught, target.open_target(path, size_needed=SIZE, **options):
        pytest.fail("it was opened")
    for word in words:
        assert word in caught.value.message, caught.value.message
    assert caught.value.hint
    return caught.value


def test_an_empty_device_is_opened_and_written(device: Path, disk: Path) -> None:
    with target.open_target(device, size_needed=SIZE) as opened:
        assert (opened.size, opened.is_block, opened.begun) == (SIZE, True, False)
        page = buffer(PAGE)
        page[:] = b"\x11" * PAGE
        opened.write(page, 4 * PAGE)
        opened.write(page[:100], 7)
        there = buffer(PAGE)
        opened.read_into(there, 4 * PAGE)
        assert there == page
        assert opened.begun
        opened.sync()
    content = disk.read_bytes()
    assert content[7:107] == b"\x11" * 100
    assert content[4 * PAGE : 5 * PAGE] == b"\x11" * PAGE
    assert content.count(b"\x11") == PAGE + 100


def test_whole_pages_go_past_the_page_cache(device: Path) -> None:
    with target.open_target(device, size_needed=SIZE) as opened:
        assert opened._direct is not None
        flags = Path(f"/proc/self/fdinfo/{opened._direct}").read_text()
        assert int(flags.split("flags:")[1].split()[0], 8) & os.O_DIRECT
        assert opened._descriptor(buffer(PAGE), PAGE) == opened._direct
        assert opened._descriptor(buffer(PAGE), PAGE + 512) == opened.fd
        assert opened._descriptor(buffer(PAGE)[:512], PAGE) == opened.fd


@pytest.mark.trixie
@pytest.mark.parametrize("kind", ["mount", "swap", "foreign swap", "loop", "exclusive", "process"])
def test_a_device_in_use_names_who_uses_it(kind: str, device: Path, tmp_path: Path) -> None:
    if kind == "mount":
        output("mkfs.ext4", "-q", str(device))
        place = tmp_path / "mnt"
        place.mkdir()
        output("mount", str(device), str(place))
        try:
            refused(device, f"in use: mounted on {place}", force=True)
        finally:
            output("umount", str(place))
    elif "swap" in kind:
        output("mkswap", str(device))
        # In /proc/swaps, its path is that of a mount which is gone then.
        output(*(["unshare", "--mount"] if kind == "foreign swap" else []), "swapon", str(device))
        try:
            refused(device, "in use: active as swap", force=True)
        finally:
            output("swapoff", str(device))
    elif kind == "loop":
        with loop(device) as upper:
            refused(device, f"in use: attached as {upper}", force=True)
    elif kind == "exclusive":
        fd = os.open(device, os.O_RDONLY | os.O_EXCL)
        try:
            refused(device, "in use: another process")
        finally:
            os.close(fd)
    else:
        with holding(device) as process:
            refused(device, f"in use: process {process} (sleep) has it open")


@contextmanager
def holding(path: Path) -> Iterator[int]:
    """A process that has a path open, and no more, as QEMU has its disks."""
    with path.open("rb") as opened, subprocess.Popen(["sleep", "60"], stdin=opened) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_mount_in_another_mount_namespace_counts(device: Path, tmp_path: Path) -> None:
    output("mkfs.ext4", "-q", str(device))
    place = tmp_path / "mnt"
    place.mkdir()
    script = f"mount {device} {place} && echo ready && read line; umount {place}"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"ready\n"
        refused(device, f"in use: mounted on {place}", force=True)
        process.stdin.close()


def test_a_file_that_a_process_has_open(disk: Path) -> None:
    with holding(disk) as process:
        refused(disk, f"process {process} (sleep) has it open", allow_file=True)


@pytest.mark.trixie
def test_a_file_that_is_swap(disk: Path) -> None:
    disk.write_bytes(bytes(SIZE))  # swapon(8) takes no file with holes
    disk.chmod(0o600)
    output("mkswap", disk)
    output("unshare", "--mount", "swapon", disk)
    try:
        refused(disk, "in use: active as swap", allow_file=True, force=True)
    finally:
        output("swapoff", disk)


def test_a_read_only_device(disk: Path) -> None:
    with create_support.loop(disk, read_only=True) as device:
        refused(device, "read-only")


def test_one_sector_too_small(tmp_path: Path) -> None:
    small = tmp_path / "small.img"
    small.write_bytes(b"")
    os.truncate(small, SIZE - 512)
    with loop(small) as attached:
        error = refused(Path(attached), "512 bytes (512 B) too small", str(SIZE))
    assert error.hint and f"--size {SIZE}b" in error.hint


def test_signatures_need_force_or_a_yes(device: Path, disk: Path) -> None:
    output("mkfs.ext4", "-q", "-L", "data", str(device))
    uuid = output("blkid", "-p", "-o", "value", "-s", "UUID", str(device)).strip()
    before = disk.read_bytes()
    found = ("ext4", "label data", uuid)
    asked: list[str] = []

    def answering(answer: bool) -> Callable[[str], bool]:
        def confirm(question: str) -> bool:
            asked.append(question)
            return answer

        return confirm

    error = refused(device, *found)
    assert isinstance(error, TargetNotEmpty)
    refused(device, *found, confirm=answering(False))
    with target.open_target(device, size_needed=SIZE, confirm=answering(True)):
        pass
    assert len(asked) == 2 and all(word in asked[0] for word in (str(device), *found))
    with target.open_target(device, size_needed=SIZE, force=True):
        pass
    with target.open_target(device, size_needed=SIZE, is_ours=lambda identity: "loop" in identity):
        pass
    refused(device, *found, is_ours=lambda _: False)
    assert disk.read_bytes() == before


@pytest.mark.trixie
def test_contradicting_signatures_are_content(device: Path, tmp_path: Path) -> None:
    output("mkfs.ext4", "-q", str(device))
    xfs = tmp_path / "xfs.img"
    xfs.write_bytes(b"")
    os.truncate(xfs, 400 * MIB)
    output("mkfs.xfs", "-q", str(xfs))
    with device.open("r+b") as written, xfs.open("rb") as read:
        written.write(read.read(512))  # its superblock is before that of ext4
    probed = subprocess.run(["blkid", "-p", str(device)], check=False, capture_output=True)
    assert probed.returncode in (2, 8)  # util-linux 2.41, 2.38; 2 is "nothing found", too
    refused(device, "it holds something unclear to blkid: signatures of xfs, ext4")


@pytest.mark.parametrize("label_sector", [0, 1, 2, 3])
def test_a_physical_volume_is_refused_even_with_force(device: Path, label_sector: int) -> None:
    with device.open("r+b") as opened:
        opened.seek(label_sector * 512)
        opened.write(b"LABELONE" + bytes([label_sector]) + bytes(15) + b"LVM2 001")
    refused(device, "a physical volume of LVM", force=True)


def test_what_pvcreate_makes_is_a_physical_volume(device: Path) -> None:
    filters = f'devices {{ filter=["a|^{device}$|","r|.*|"] use_devicesfile=0 }}'
    output("pvcreate", "--config", filters, "--yes", str(device))
    refused(device, "a physical volume of LVM", force=True)


def test_a_symbolic_link_is_named_with_its_device(device: Path, tmp_path: Path) -> None:
    alias = tmp_path / "lv"
    alias.symlink_to(device)
    output("mkswap", str(device))
    refused(alias, f"target {alias} ({device}): it holds swap")


def test_the_source_itself_and_what_it_stands_on(device: Path, disk: Path, tmp_path: Path) -> None:
    refused(device, "the source itself", source=device.stat(), force=True)
    refused(device, "stored on the source", source=disk.stat(), force=True)
    refused(disk, "the source is stored on it", source=device.stat(), allow_file=True)
    output("mkfs.ext4", "-q", str(device))
    place = tmp_path / "mnt"
    place.mkdir()
    output("mount", str(device), str(place))
    try:
        image = place / "image"
        image.write_bytes(b"x")
        refused(device, "the source is stored on it", source=image.stat(), force=True)
        refused(disk, "the source is stored on it", source=image.stat(), allow_file=True)
        refused(image, "stored on the source", source=device.stat(), allow_file=True, force=True)
    finally:
        output("umount", str(place))


def test_neighbours_in_a_file_system_are_no_source_of_each_other(
    disk: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    with target.open_target(
        disk, size_needed=SIZE, allow_file=True, source=source.stat()
    ) as opened:
        assert opened.size == SIZE


def test_a_disk_of_a_running_instance(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ganeti's files stand in a directory of the test; the process is real."""
    ganeti = tmp_path / "ganeti"
    for name in ("bdev-cache", "kvm-hypervisor/pid", "instance-disks"):
        (ganeti / name).mkdir(parents=True)
    monkeypatch.setattr("node.ganeti.GANETI", ganeti)
    cached = ganeti / f"bdev-cache/bdev_{device.name}"
    cached.write_text("web1.example.org primary disk/0\n")
    pid = ganeti / "kvm-hypervisor/pid/web1.example.org"
    with target.open_target(device, size_needed=SIZE):
        pass  # it is stopped
    script = ["sh", "-c", "sleep 60; :", "web1.example.org"]
    with subprocess.Popen(script, start_new_session=True) as process:
        try:
            while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
                time.sleep(0.01)  # its execve(2) is not over
            pid.write_text(f"{process.pid}\n")
            refused(device, "instance web1.example.org", f"process {process.pid}")
            cached.unlink()
            (ganeti / "instance-disks/web1.example.org:0").symlink_to(device)
            refused(device, "instance web1.example.org", force=True)
        finally:
            os.killpg(process.pid, 9)
    pid.write_text(f"{os.getpid()}\n")  # the number is another process's by now
    with target.open_target(device, size_needed=SIZE):
        pass


def test_a_file_needs_to_be_asked_for(disk: Path, tmp_path: Path) -> None:
    error = refused(disk, "a file, not a block device")
    assert isinstance(error, TargetIsFile)
    refused(tmp_path / "new", "does not exist")
    assert not (tmp_path / "new").exists()
    refused(Path("/dev/no-such-volume"), "does not exist", allow_file=True)
    refused(tmp_path, "neither", allow_file=True)
    refused(tmp_path / "no/where", "cannot be created", allow_file=True)


def test_a_new_file_stays_only_if_it_was_begun(tmp_path: Path) -> None:
    new = tmp_path / "new"
    with target.open_target(new, size_needed=SIZE, allow_file=True) as opened:
        assert opened.created
    assert not new.exists()
    with target.open_target(new, size_needed=SIZE + 5, allow_file=True) as opened:
        opened.write(buffer(100), PAGE)
    assert new.stat().st_size == SIZE + 5
    assert new.stat().st_blocks * 512 <= 2 * PAGE
    assert new.stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_enlarged_by_the_first_write(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"precious")
    refused(old, "data without a signature", allow_file=True)
    with target.open_target(old, size_needed=SIZE, allow_file=True, force=True) as opened:
        assert opened.size == SIZE and not opened.created
        assert old.read_bytes() == b"precious"
        opened.sync()
    assert old.stat().st_size == SIZE
    with target.open_target(old, size_needed=100, allow_file=True, force=True) as opened:
        assert opened.size == SIZE


def test_the_identity_is_that_of_the_disk_not_of_the_device_number(
    disk: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(bytes(SIZE))
    found = []
    for file in (disk, other, disk):
        with loop(file) as attached, target.open_target(attached, size_needed=1) as opened:
            found.append(dict(opened.identity))
    assert found[0] == found[2] != found[1]
    assert found[0]["size"] == SIZE


def test_comparing_needs_no_claim_and_cannot_write(device: Path) -> None:
    with holding(device), target.open_target_read_only(device, size_needed=SIZE) as opened:
        there = buffer(PAGE)
        there[:] = b"x" * PAGE
        opened.read_into(there, 0)
        assert there == bytes(PAGE)
        with pytest.raises(KitError, match="write to"):
            opened.write(there, 0)
    with (
        pytest.raises(KitError, match="too small"),
        target.open_target_read_only(device, size_needed=SIZE * 2),
    ):
        pass


def test_udev_knows_a_device_by_its_number_even_where_no_udevd_runs(device: Path) -> None:
    assert udev.properties(device.stat().st_rdev)["DEVNAME"] == str(device)
    assert udev.properties(os.makedev(250, 77)) == {}
