"""What a process can do in the view of the node that libguestfs gets, and how it is spoken to."""

import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from node import syscalls
from node.errors import KitError
from node.isolation import read_only_node
from node.isolation.apart import Channel, Message, apart
from tests.system.loops import loop

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(MIB)
    return path


def inside(
    disks: list[Path], work: Callable[[list[Path]], Message], *, writable: bool = False
) -> Message:
    """What some work sends that is done in the view, with these disks."""

    def done(channel: Channel) -> None:
        found = read_only_node.enter([(each, each.stat()) for each in disks], writable=writable)
        read_only_node.seal()
        channel.send(work(found))

    with apart(done, "test") as channel:
        return channel.receive()[0]


def names(directory: str) -> list[str]:
    return [path.name for path in Path(directory).iterdir()]


def written(paths: list[str]) -> dict[str, bool]:
    """Which of these paths a process can open for writing, or make files in."""
    found = {}
    for path in paths:
        try:
            if Path(path).is_dir():
                Path(path, "new").touch()
            else:
                with Path(path).open("r+b") as file:
                    file.write(b"x")
        except OSError:
            found[path] = False
        else:
            found[path] = True
    return found


def test_only_memory_can_be_written_to(disk: Path, tmp_path: Path) -> None:
    paths = ["/tmp", "/var/tmp", "/etc", "/usr", "/", "/sys", "/proc/sys/kernel/core_pattern"]
    paths += [str(tmp_path), str(disk), str(read_only_node.APPLIANCE)]
    assert inside([disk], lambda _: written(paths), writable=True) == {
        path: path in ("/tmp", "/var/tmp") for path in paths
    }
    assert disk.read_bytes() == bytes(MIB)
    assert not Path("/tmp/new").exists()


@pytest.mark.parametrize("writable", [True, False])
def test_disks(disk: Path, tmp_path: Path, writable: bool) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(MIB))
    with loop(other, read_only=False) as device:
        found = inside(
            [disk, device], lambda paths: written([str(path) for path in paths]), writable=writable
        )
    # A block device is protected by QEMU's own mode only: its node has no mount of its own.
    assert found == {"/dev/disk0": writable, "/dev/disk1": True}
    assert disk.read_bytes()[:1] == (b"x" if writable else b"\0")


def test_what_is_there(disk: Path) -> None:
    Path("/root/secret").touch()

    def look(_paths: list[Path]) -> Message:
        def refused(act: Callable[[], object]) -> bool:
            try:
                act()
            except OSError:
                return True
            return False

        kinds = {path.name: stat.S_IFMT(path.stat().st_mode) for path in Path("/dev").iterdir()}
        syscalls.drop_capabilities()
        return {
            "devices": sorted(name for name, kind in kinds.items() if kind == stat.S_IFCHR),
            "disks": [name for name, kind in kinds.items() if kind != stat.S_IFCHR],
            "root": names("/root"),
            "run": names("/run"),
            "log": names("/var/log"),
            "processes": [name for name in names("/proc") if name.isdecimal()],
            "interfaces": [name for _, name in socket.if_nameindex()],
            "mounts": refused(lambda: syscalls.mount("tmpfs", "/tmp", "tmpfs", 0)),
            "nodes": refused(lambda: os.mknod("/tmp/x", stat.S_IFCHR | 0o600, os.makedev(1, 1))),
        }

    try:
        found = inside([disk], look)
    finally:
        Path("/root/secret").unlink()
    assert set(found["devices"]) <= set(read_only_node.DEVICES)
    assert "null" in found["devices"]
    assert found["disks"] == ["disk0"]
    assert found["root"] == found["run"] == found["log"] == []
    assert found["processes"] == ["1"]
    assert found["interfaces"] == ["lo"]
    assert found["mounts"] and found["nodes"]


def test_programs_have_few_capabilities(disk: Path) -> None:
    def look(_paths: list[Path]) -> Message:
        told = subprocess.run(
            ["cat", "/proc/self/status"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        return dict(line.split(":\t") for line in told.splitlines() if ":\t" in line)

    status = inside([disk], look)
    expected = sum(1 << number for number in read_only_node.CAPABILITIES)
    assert int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == expected
    assert status["NoNewPrivs"] == "1"


def test_a_disk_that_was_replaced(disk: Path, tmp_path: Path) -> None:
    status = disk.stat()
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "other").replace(disk)

    def enter(_channel: Channel) -> None:
        read_only_node.enter([(disk, status)], writable=False)

    with apart(enter, "test") as channel, pytest.raises(KitError, match="it was replaced"):
        channel.receive()


def test_errors_come_through_the_channel() -> None:
    def fail(_channel: Channel) -> None:
        raise KitError("why", hint="remedy")

    def err(_channel: Channel) -> None:
        raise ValueError("bug")

    def die(_channel: Channel) -> None:
        os._exit(0)

    for work, message in ((fail, "^why$"), (err, "unexpected: ValueError: bug"), (die, "ended")):
        with apart(work, "test") as channel, pytest.raises(KitError, match=message):
            channel.receive()


def test_descriptors_go_both_ways(tmp_path: Path) -> None:
    def echo(channel: Channel) -> None:
        message, descriptor = channel.receive()
        assert descriptor is not None
        os.write(descriptor, b"there")
        channel.send(message, descriptor)

    with (tmp_path / "file").open("w+b") as file, apart(echo, "test") as channel:
        channel.send({"name": "\udcff"}, file.fileno())
        message, descriptor = channel.receive()
        assert message == {"name": "\udcff"}
        assert descriptor is not None
        assert os.pread(descriptor, 10, 0) == b"there"
        os.close(descriptor)
