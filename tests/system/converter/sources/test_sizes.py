"""Disks whose size is no multiple of 512, from everywhere: their last bytes are not lost."""

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.converter import source_support as sources
from tests.system.converter import support
from tests.system.converter.sshd import HOST, Sshd, sshd
from tests.system.converter.support import (
    JOURNALS,
    MIB,
    PROGRAM,
    Write,
    noise,
    output,
    prose,
    qcow2,
)


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("far")) as server:
        yield server


def raw(directory: Path, size: int) -> Path:
    path = directory / "disk.raw"
    path.write_bytes(prose(size, 1))
    return path


def odd_qcow2(path: Path, disk: Path, *, compressed: bool) -> Path:
    """An image of a disk, whose header says how many bytes it has: qemu-img would round them up."""
    content = disk.read_bytes()
    whole = len(content) + -len(content) % support.CLUSTER
    qcow2(path, whole, Write(0, content.ljust(whole, b"\0"), compressed))
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack(">Q", len(content)), 24)
    return path


def image_of(disk: Path, kind: str) -> tuple[Path, str]:
    path = disk.with_name("image")
    if kind == "raw":
        return disk, "raw"
    if kind.startswith("qcow2"):
        return odd_qcow2(path, disk, compressed=kind != "qcow2"), "qcow2"
    output("qemu-img", "convert", "-f", "raw", "-O", kind, disk, path)
    if kind == "vdi":  # VirtualBox makes such ones of raw files
        with path.open("r+b") as file:
            os.pwrite(file.fileno(), struct.pack("<Q", disk.stat().st_size), 0x170)
    return path, kind


@pytest.mark.parametrize(
    ("place", "kind", "size"),
    [
        ("far", "raw", 511),
        ("far", "raw", MIB + 1000),
        ("far", "qcow2", 1),
        ("far", "qcow2", 3 * MIB - 1),
        ("far", "qcow2-compressed", MIB + 1000),
        ("far", "vdi", MIB + 1000),
        ("here", "qcow2-compressed", MIB + 1000),
        ("here", "vdi", 511),
        ("here", "vdi", 3 * MIB - 1),
    ],
)
def test_all_bytes_come_and_no_more(
    place: str, kind: str, size: int, far: Sshd, tmp_path: Path
) -> None:
    disk = raw(tmp_path, size)
    image, image_format = image_of(disk, kind)
    name = f"ssh://{HOST}{image}" if place == "far" else str(image)
    told = sources.read(name, image_format, tmp_path / "out", far.argv())
    assert told.get("size") == size, told
    assert sources.same(tmp_path / "out", disk)


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_digest_and_check_over_ssh_are_those_of_here(kind: str, far: Sshd, tmp_path: Path) -> None:
    disk = raw(tmp_path, 2 * MIB + 333)
    image, image_format = image_of(disk, kind)
    target = support.dirty(tmp_path / "target", 4 * MIB)
    script = f"""
    mkdir -p {JOURNALS}; mount -t tmpfs copies {JOURNALS}
    for name in "$1" "$2"; do
      {PROGRAM} -q --force --force-file --digest sha256 --verify --format {image_format} $name "$3"
      {PROGRAM} -q --check --format {image_format} "$1" "$3"
      {PROGRAM} -q --check --format {image_format} "$2" "$3"
    done
    printf x | dd of="$3" bs=1 seek={2 * MIB + 332} conv=notrunc status=none
    ! {PROGRAM} -q --check --format {image_format} "$2" "$3"
    """
    inside = ("unshare", "--mount", "--propagation=private", "--", "sh", "-ec", script, "sh")
    ended = subprocess.run(
        far.argv(*inside, image, f"ssh://{HOST}{image}", target),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended
    digests = [line.split()[0] for line in ended.stdout.splitlines()]
    assert digests == [support.digest(disk)] * 2
    assert f"different from byte {2 * MIB + 332} on" in ended.stderr


def test_the_target_is_zero_behind_the_odd_end(far: Sshd, tmp_path: Path) -> None:
    """The bytes up to the next sector are the old tenant's."""
    disk = tmp_path / "disk"
    disk.write_bytes(noise(MIB + 1, 4))
    target = support.dirty(tmp_path / "target", 2 * MIB)
    script = f'mkdir -p {JOURNALS}; mount -t tmpfs c {JOURNALS}; exec "$@"'
    inside = ("unshare", "--mount", "--propagation=private", "--", "sh", "-ec", script, "sh")
    words = ("-q", "--force", "--force-file", "--format", "raw", f"ssh://{HOST}{disk}", target)
    subprocess.run(far.argv(*inside, PROGRAM, *words), check=True, timeout=60)
    support.require_same(target, disk)
