"""Instances are exported, removed, imported under another name onto other disks, and boot."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from . import backups
from .backups import EXPORTS
from .cluster import QUICK, Cluster
from .scrape import Facts

ORIGINAL = ("size=3G", "size=256M,name=swap")


class Onto(NamedTuple):
    """What an export is imported onto."""

    disks: tuple[str, ...]
    size: int  # MiB, the least that the root file system has in the end
    swap: str  # its size in the end
    renumbered: bool = False  # whether inodes may get other numbers


LARGER = Onto(("size=4G", "size=320M,name=swap"), 3700, "256M")  # swap does not grow
SMALLER = Onto(("size=2G", "size=128M,name=swap"), 1800, "128M", renumbered=True)


class Guest(NamedTuple):
    """A kind of root disk."""

    params: dict[str, str]
    root: str


# All partition styles and file systems; on a bare disk, only ext4 leaves room for a boot loader.
GUESTS = {
    "usual": Guest({}, "/dev/vda1 ext4"),
    "bare": Guest({"partition_style": "none"}, "/dev/vda ext4"),
    "btrfs": Guest({"filesystem": "btrfs"}, "/dev/vda1 btrfs"),
    "gpt": Guest({"partition_style": "gpt", "filesystem": "xfs"}, "/dev/vda3 xfs"),
}


class Exported(NamedTuple):
    """What is known of an instance that was exported and removed."""

    name: str
    facts: Facts
    files: backups.Files
    swap: list[str]


def exported(cluster: Cluster, name: str, kind: str) -> Exported:
    """Creates an instance with files of all kinds, exports and removes it."""
    params = GUESTS[kind].params | QUICK
    facts = cluster.add(name, disks=ORIGINAL, params=params, start=False)
    root, swap = cluster.disk_paths(name)
    files, area = backups.filled(cluster, root), backups.swap_area(cluster, swap)
    backups.export(cluster, name)
    cluster.remove(name)
    return Exported(name, facts, files, area)


def require_restored(
    cluster: Cluster, name: str, original: Exported, kind: str, onto: Onto = LARGER
) -> None:
    """Imports it under a name, compares all that is on its disks, and boots it."""
    said = backups.import_(cluster, name, original.name, onto.disks)
    assert "WARNING" not in said and "error" not in said, said
    root, swap = cluster.disk_paths(name)
    now = backups.files(cluster, root)
    backups.require_same_files(now, original.files, renumbered=onto.renumbered)
    assert backups.swap_area(cluster, swap) == original.swap
    console = cluster.start_instance(name)
    assert not console.login("root", original.facts.password)
    grown = f"test $(df --output=size --block-size=1M / | tail -1) -ge {onto.size}; echo $?"
    for command, expected in (
        ("hostname -f", name),
        ("swapon --show=TYPE,SIZE --noheadings --raw", f"partition {onto.swap}"),
        ("systemctl is-system-running --wait", "running"),
        ("ip -4 -o addr show dev eth0 | grep -c 198.51.100", "1"),
        ("findmnt --noheadings --raw --output SOURCE,FSTYPE /", GUESTS[kind].root),
        (grown, "0"),
    ):
        assert console.run(command)[1].strip() == expected, command
    cluster.remove(name)


@pytest.fixture(scope="module")
def usual(cluster: Cluster, instance_name: Callable[[str], str]) -> Exported:
    return exported(cluster, instance_name("usual.example.org"), "usual")


@pytest.mark.trixie
def test_it_comes_back_under_another_name_on_larger_disks(
    usual: Exported, cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    name = instance_name("imported.example.org")
    require_restored(cluster, name, usual, "usual")
    said = cluster.run(["instance-kit", "facts", name]).stdout
    assert f"root password: {usual.facts.password}" in said
    assert f"note: renamed from {usual.name} to {name} " in said and "note: imported " in said
    assert "note: imported " not in cluster.run(["instance-kit", "facts", usual.name]).stdout


@pytest.mark.trixie
def test_it_is_shrunk_onto_smaller_disks(
    usual: Exported, cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    require_restored(cluster, instance_name("shrunk.example.org"), usual, "usual", SMALLER)


@pytest.mark.parametrize("kind", ["bare", "btrfs", "gpt"])
def test_every_kind_of_root_disk_comes_back(
    kind: str, cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    original = exported(cluster, instance_name(f"{kind}.example.org"), kind)
    require_restored(cluster, instance_name(f"{kind}-imported.example.org"), original, kind)
    cluster.run(["rm", "-r", f"{EXPORTS}/{original.name}"])


DAMAGE = """
import configparser, os, shutil, sys
source, damaged = sys.argv[1:]
os.mkdir(damaged)
config = configparser.RawConfigParser()
config.read(f"{source}/config.ini")
dump = f"{source}/{config['instance']['disk0_dump']}"
for number, kind in enumerate(("truncated", "altered", "missing")):
    path = f"{damaged}/{kind}"
    shutil.copy(dump, path)
    size = os.stat(path).st_size
    with open(path, "r+b") as file:
        if kind == "truncated":
            file.truncate(size - (60 << 20))
        elif kind == "altered":
            byte = os.pread(file.fileno(), 1, size // 2)[0]
            os.pwrite(file.fileno(), bytes([byte ^ 1]), size // 2)
        else:
            os.unlink(path)
    config["instance"][f"disk{number}_dump"] = kind
config["instance"]["disk_count"] = "3"
with open(f"{damaged}/config.ini", "w") as file:
    config.write(file)
"""


def test_damaged_dumps_leave_nothing_that_boots(
    usual: Exported, cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    """`gnt-backup import` keeps the instance, whatever the script says, and exits with 0."""
    name, damaged = instance_name("damaged.example.org"), "made-of-damaged-dumps"
    paths = [f"{EXPORTS}/{each}" for each in (usual.name, damaged)]
    cluster.run(["/usr/bin/python3", "-c", DAMAGE, *paths])
    verified = cluster.run(["instance-kit", "verify", *paths], check=False)
    states = [line.split(": ")[1] for line in verified.stdout.splitlines()]
    assert verified.returncode == 1
    assert states == ["whole", "whole", "damaged", "damaged", "missing"], verified.stdout
    said = backups.import_(cluster, name, damaged, ["size=3G"] * 3)
    assert cluster.instance_field(name, "status") == "ADMIN_down"
    disks = cluster.disk_paths(name)
    assert [backups.looks_empty(cluster, disk) for disk in disks] == [True] * 3
    blocks = said.replace("\\n", "\n").split("disk/")
    for number, why in enumerate(("it ends within a frame", "a frame in it is damaged")):
        start = f"{number} failed to receive data"
        [told] = [block for block in blocks if block.startswith(start)]
        [error] = [line for line in told.splitlines() if line.startswith("error: ")]
        assert error.startswith(f"error: import of disk {number} of {name}: "), told
        assert why in error, told
    [told] = [block for block in blocks if block.startswith("2 failed to send data")]
    assert "missing: No such file" in told
