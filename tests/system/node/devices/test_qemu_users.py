"""Disks that a real QEMU has open are neither written to nor copied.

QEMU does not claim a device as a mount does (O_EXCL); it locks bytes of the node in /dev that it
opened, and of no other node of that device.
"""

import os
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from converter.sources import local
from converter.target import device as target
from node.devices import claim, qemu_locks, settling
from node.errors import KitError
from tests.system.installer import support
from tests.system.installer.support import MIB, OS_DIR, Node

MACHINE = ("qemu-system-x86_64", "-accel", "tcg", "-S", "-nodefaults", "-display", "none")


@contextmanager
def machine(disk: Path, *, locks: bool = True) -> Iterator[None]:
    """A machine with this disk; it is stopped before its first instruction."""
    drive = f"if=virtio,format=raw,file={disk}{'' if locks else ',file.locking=off'}"
    with subprocess.Popen([*MACHINE, "-drive", drive]) as process:
        try:
            deadline = time.monotonic() + 60
            while not (_locked(disk) if locks else _has_open(process.pid, disk)):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            yield
        finally:
            process.kill()


def _locked(disk: Path) -> bool:
    """Whether somebody does not let others write: the last of the locks that QEMU takes."""
    return f":{disk.stat().st_ino} 201 201" in Path("/proc/locks").read_text()


def _has_open(process: int, disk: Path) -> bool:
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            if os.path.samestat(descriptor.stat(), disk.stat()):
                return True
    return False


def other_node(device: Path, place: Path) -> Path:
    """Another node of the same device, as a chroot or a container has it."""
    os.mknod(place, stat.S_IFBLK | 0o600, device.stat().st_rdev)
    return place


@pytest.fixture
def device(node: Node) -> Iterator[Path]:
    with support.loop(node.disk(support.TINY_DISK), read_only=False) as attached:
        node.disks[0] = (attached, None)
        yield attached


def untouched(node: Node) -> bool:
    return (node.directory / "disk0").stat().st_blocks == 0


@pytest.mark.parametrize("kind", ["same node", "other node", "without locks"])
def test_a_create_spares_a_device_that_qemu_runs_on(node: Node, device: Path, kind: str) -> None:
    node.settings |= support.TINY
    opened = device if kind == "same node" else other_node(device, node.directory / "node")
    with machine(opened, locks=kind != "without locks"):
        node.create().failed(f"disk {device}: in use: process", "(qemu-system-x86", "has it open")
        assert untouched(node)


def test_a_rename_spares_a_device_that_qemu_runs_on(node: Node, device: Path) -> None:
    node.environ["OLD_INSTANCE_NAME"] = "old.example.org"
    with machine(other_node(device, node.directory / "node")):
        ran = subprocess.run(
            ["./rename"],
            cwd=OS_DIR,
            env=node.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert f"error: disk {device}: in use: process" in ran.stderr
    assert untouched(node)


def test_a_lock_is_seen_on_the_node_that_qemu_opened(device: Path) -> None:
    """Also where its process is not seen, as from within a container."""
    with machine(device), device.open("r+b") as opened:
        assert qemu_locks.is_written(opened.fileno())
        assert not qemu_locks.lock_whole(opened.fileno())
    with device.open("r+b") as opened, device.open("r+b") as again:
        assert not qemu_locks.is_written(opened.fileno())
        assert qemu_locks.lock_whole(opened.fileno())
        assert qemu_locks.is_written(again.fileno())


def test_qemu_cannot_begin_to_use_a_device_that_is_claimed(device: Path) -> None:
    command = ["qemu-io", "-f", "raw", "-c", "write 0 512", device]
    with claim.claimed(device):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode != 0 and "lock" in ran.stderr
    subprocess.run(command, check=True)


def test_the_converter_spares_it_as_target_and_refuses_it_as_source(
    node: Node, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 0.3)
    with machine(device):
        with (
            pytest.raises(KitError, match=r"in use: process .* has it open"),
            target.open_target(device, size_needed=MIB, force=True),
        ):
            pass
        with (
            pytest.raises(KitError, match="in use: a running QEMU writes to it"),
            local.local_source(device, str(device), "raw"),
        ):
            pass
    assert untouched(node)
    with local.local_source(device, str(device), "raw") as source:
        assert source.size == support.TINY_DISK
