"""Existing content of disks: a reinstall keeps it, or removes it so that nobody can read it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from installer.disks import kept, prepare
from installer.disks.kept import kept_file_systems
from installer.disks.layout import plan_layout
from installer.inputs import read_instance
from installer.settings import Settings
from node.devices.claim import Backing
from node.devices.loop import attached
from node.errors import KitError
from node.run import Result
from tests.system.converter.nbd_device import served
from tests.system.installer import support
from tests.system.installer.support import MIB, Node, output

SIZE = 256 * MIB


@pytest.fixture
def reinstalled(node: Node) -> Node:
    """A node that reinstalls the smallest of guests."""
    node.settings |= support.TINY
    node.disk(support.TINY_DISK)
    node.environ["INSTANCE_REINSTALL"] = "1"
    return node


def write(path: Path, place: int, data: bytes) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), data, place)


def damage(disk: Path, kind: str) -> None:
    """Fills a disk with what blkid finds nothing in."""
    if kind == "random data":
        write(disk, 0, os.urandom(MIB))
        return
    output("mke2fs", "-q", "-F", "-t", "ext4", disk)
    if kind == "ext4 without its superblock":
        write(disk, 1024, bytes(1024))
    else:
        write(disk, 0, bytes(64 * MIB))


def existing(node: Node) -> dict[int, tuple[str, str]]:
    """What a reinstall finds on the data disks when it plans."""
    return kept_file_systems(read_instance(node.environment()), Settings())


@pytest.mark.parametrize(
    "kind", ["random data", "ext4 without its superblock", "ext4 without its first 64 MiB"]
)
@pytest.mark.parametrize("is_block", [False, True])
def test_what_blkid_does_not_know_is_not_empty(node: Node, kind: str, is_block: bool) -> None:
    node.disk(MIB)
    disk = node.disk(SIZE)
    damage(disk, kind)
    assert not output("blkid", "-p", disk, check=False)
    with support.loop(disk) as device:
        for name, maker in (("srv", "mkfs.ext4"), ("swap", "mkswap")):
            path = device if is_block else disk
            node.disks[1] = (path, name)
            with pytest.raises(KitError, match="holds something that blkid does not") as caught:
                existing(node)
            assert caught.value.hint and f"{maker} {path}" in caught.value.hint


def test_a_reinstall_spares_it_to_the_last_byte(reinstalled: Node) -> None:
    disk = reinstalled.disk(SIZE, "srv")
    damage(disk, "ext4 without its superblock")
    before = output("sha256sum", disk)
    reinstalled.create().failed("disk 1 (/srv): it holds something that blkid does not know")
    assert output("sha256sum", disk) == before


def test_a_file_system_on_a_disk_that_is_named_swap_is_spared(node: Node) -> None:
    node.disk(MIB)
    output("mke2fs", "-q", "-F", "-t", "ext4", node.disk(SIZE, "swap"))
    with pytest.raises(KitError, match=r"disk 1 \(swap\): it holds ext4, not swap"):
        existing(node)


def test_a_reinstall_makes_empty_disks_and_swap_anew(reinstalled: Node) -> None:
    reinstalled.settings["HOOK_SWAP"] = "yes"
    data, swap = reinstalled.disk(SIZE, "srv"), reinstalled.disk(SIZE, "swap")
    output("mkswap", swap)
    reinstalled.create().succeeded()
    assert output("blkid", "-p", "-o", "value", "-s", "TYPE", data).strip() == "ext4"
    assert output("blkid", "-p", "-o", "value", "-s", "TYPE", swap).strip() == "swap"


def test_a_disk_that_cannot_be_read_is_not_empty(node: Node, tmp_path: Path) -> None:
    node.disk(MIB)
    disk = tmp_path / "data.img"
    disk.touch()
    os.truncate(disk, SIZE)
    output("mke2fs", "-q", "-F", "-t", "ext4", disk)
    faults = tmp_path / "faults"
    error = (f"error-pread-file={faults}", "error-pread-rate=100%")
    with served(tmp_path, "--filter=error", "file", disk, *error) as device:
        faults.touch()
        node.disks.append((device.path, "srv"))
        assert not output("blkid", "-p", device.path, check=False).count("TYPE")
        with pytest.raises(KitError, match="cannot check whether it is empty: byte 0: Input"):
            existing(node)


def test_a_probe_that_failed_for_a_moment_is_not_believed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No device fails just while blkid reads it: its answer is that of util-linux 2.38."""
    node.disk(MIB)
    output("mke2fs", "-q", "-F", "-t", "ext4", node.disk(SIZE, "srv"))
    monkeypatch.setattr(kept, "run", lambda *_args, **_options: Result(2, "", ""))
    with pytest.raises(KitError, match="holds something that blkid does not know, at byte 10"):
        existing(node)


def pretend_raid(path: Path, end: int) -> None:
    """The metadata of an Intel RAID, as libblkid looks for them: 1 KiB before the end."""
    write(path, end - 1024, b"Intel Raid ISM Cfg Sig. 1.3.00")


def old_layers(disk: Path) -> None:
    """A physical volume, another where the root partition will be, a RAID at the end."""
    with support.loop(disk, read_only=False) as device:
        filters = f'devices {{ filter=["a|^{device}$|","r|.*|"] use_devicesfile=0 }}'
        output("pvcreate", "--config", filters, "--yes", device)
    with disk.open("rb") as file:
        label = file.read(MIB)
    write(disk, MIB, label)
    pretend_raid(disk, disk.stat().st_size)


def types(device: Path) -> set[str]:
    lines = output("wipefs", "--no-act", "--parsable", "--output", "TYPE", device).splitlines()
    return {line for line in lines if not line.startswith("#")}


def test_no_loop_device_ever_shows_what_a_disk_held(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = [node.disk(support.TINY_DISK), node.disk(SIZE, "swap"), node.disk(SIZE, "srv")]
    for disk in disks:
        old_layers(disk)
        assert types(disk) == {"LVM2_member", "isw_raid_member"}
    seen: dict[str, set[str]] = {}

    @contextmanager
    def watched(backing: Backing, offset: int = 0, size: int = 0) -> Iterator[Path]:
        with attached(backing, offset, size) as device:
            seen[f"{backing.path.name}+{offset}"] = types(device)
            yield device

    monkeypatch.setattr(prepare, "attached", watched)
    instance = read_instance(node.environment())
    settings = Settings(suite="bookworm", kernel="none")
    sizes = {number: disk.stat().st_size for number, disk in enumerate(disks)}
    layout = plan_layout(instance, settings, sizes, existing={}, new_uuid=uuid4)
    written = (layout.root, *layout.swaps, *layout.data)
    with (
        ExitStack() as stack,
        prepare.prepared(layout, "bookworm", prepare.claim_all(stack, written)),
    ):
        pass
    assert seen == {f"disk0+{MIB}": set(), "disk0+0": set(), "disk1+0": set(), "disk2+0": set()}
    assert types(disks[0]) == {"dos"}
    assert types(disks[1]) == {"swap"}
    assert types(disks[2]) == {"ext4"}
