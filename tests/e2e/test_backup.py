"""An instance is exported, removed, imported onto larger and onto smaller disks, and boots."""

import ast
from collections.abc import Callable
from typing import NamedTuple

import pytest

from .cluster import CHECKOUT, QUICK, Cluster
from .scrape import Facts

OLD, NEW, CUT = "exported.example.org", "imported.example.org", "cut.example.org"
SHRUNK = "shrunk.example.org"
DISKS = ("size=3G", "size=256M,name=swap")
LARGER = ("size=4G", "size=320M,name=swap")
SMALLER = ("size=2G", "size=128M,name=swap")
EXPORTS = "/var/lib/ganeti/export"
LINK = "etc/systemd/network/10-eth0.link"
RENAMED = ("etc/hostname", "etc/hosts", "etc/mailname", "etc", LINK)
# Of the guest, which is off: its root file system is on partition 1, from 1 MiB on.
ON_ITS_FILES = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.system.backup import payload
disk, options, work = sys.argv[2:]
subprocess.run(["mount", "-o", f"{options},offset={1 << 20}", disk, "/mnt"], check=True)
try:
    if work == "fill":
        Path("/mnt/srv/payload").mkdir()
        payload.fill(Path("/mnt/srv/payload"))
    for name, facts in payload.manifest(Path("/mnt")).items():
        print([name, sorted((fact, str(value)) for fact, value in facts.items())])
finally:
    subprocess.run(["umount", "/mnt"], check=True)
"""


def files(cluster: Cluster, disk: str, options: str, work: str = "") -> list[str]:
    """All facts of all files on a guest's root disk."""
    argv = ["/usr/bin/python3", "-B", "-c", ON_ITS_FILES, CHECKOUT, disk, options, work]
    return cluster.run(argv).stdout.splitlines()


def swap_area(cluster: Cluster, disk: str) -> list[str]:
    """UUID, label and the like, but not the size."""
    said = cluster.run(["blkid", "-p", "-o", "export", disk]).stdout.splitlines()[1:]
    return [line for line in said if not line.startswith("FS")]


def import_(cluster: Cluster, name: str, old: str, disks: tuple[str, ...]) -> str:
    """Imports an instance; gives what Ganeti says."""
    ran = cluster.run(
        [
            *("gnt-backup", "import", f"--node={cluster.node}", "--disk-template=file"),
            *(f"--src-node={cluster.node}", f"--src-dir={EXPORTS}/{old}"),
            *(f"--disk={number}:{disk}" for number, disk in enumerate(disks)),
            "--net=0:ip=pool,network=gnt-fsn,mac=generate",
            *("--no-ip-check", "--no-name-check", name),
        ],
        timeout=600,
    )
    return ran.stdout + ran.stderr


def verify(cluster: Cluster, exit_code: int) -> list[str]:
    """What instance-kit says of the dumps of the export."""
    ran = cluster.run(["instance-kit", "verify", f"{EXPORTS}/{OLD}"], check=False)
    assert ran.returncode == exit_code, ran.stdout + ran.stderr
    return ran.stdout.splitlines()


class Exported(NamedTuple):
    """What is known of an instance that was exported and removed."""

    facts: Facts
    files: list[str]
    swap: list[str]


@pytest.fixture(scope="module")
def exported(cluster: Cluster, instance_name: Callable[[str], str]) -> Exported:
    name = instance_name(OLD)
    facts = cluster.add(name, disks=DISKS, params=QUICK, start=False)
    root, swap = cluster.disk_paths(name)
    found = files(cluster, root, "rw", "fill")
    area = swap_area(cluster, swap)
    cluster.run(["mkdir", "-p", EXPORTS])
    cluster.run(["gnt-backup", "export", f"--node={cluster.node}", name], timeout=600)
    cluster.remove(name)
    return Exported(facts, found, area)


def test_it_comes_back_under_another_name_on_larger_disks(
    exported: Exported, cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    said = import_(cluster, instance_name(NEW), OLD, LARGER)
    assert "WARNING" not in said and "error" not in said, said
    root, swap = cluster.disk_paths(NEW)
    assert same(files(cluster, root, "ro,noload")) == same(exported.files)
    assert swap_area(cluster, swap) == exported.swap

    console = cluster.start_instance(NEW)
    assert not console.login("root", exported.facts.password)
    for command, expected in (
        ("hostname -f", NEW),
        ("swapon --show=TYPE --noheadings", "partition"),
        ("systemctl is-system-running --wait", "running"),
        ("ip -4 -o addr show dev eth0 | grep -c 198.51.100", "1"),
        ("test $(df --output=size --block-size=1M / | tail -1) -gt 3700 && echo grown", "grown"),
    ):
        assert console.run(command)[1].strip() == expected, command
    cluster.remove(NEW)  # the next one has its address


def same(listed: list[str], *, renumbered: bool = False) -> list[tuple[str, dict[str, str]]]:
    """All facts, but for what the rename writes into the guest.

    Args:
        listed: by `files`.
        renumbered: whether inodes may have got other numbers, and their directories other times.
    """
    found = []
    for name, facts in map(ast.literal_eval, listed):
        kept = dict(facts)
        changed = {"inode", "blocks"} | ({"mtime"} if "digest" not in kept else set())
        if name not in RENAMED:
            found.append(
                (name, {k: v for k, v in kept.items() if not renumbered or k not in changed})
            )
    return found


def test_it_is_shrunk_onto_smaller_disks(
    exported: Exported, cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    said = import_(cluster, instance_name(SHRUNK), OLD, SMALLER)
    assert "WARNING" not in said and "error" not in said, said
    root, swap = cluster.disk_paths(SHRUNK)
    now = files(cluster, root, "ro,noload")
    assert same(now, renumbered=True) == same(exported.files, renumbered=True)
    assert swap_area(cluster, swap) == exported.swap

    console = cluster.start_instance(SHRUNK)
    assert not console.login("root", exported.facts.password)
    for command, expected in (
        ("swapon --show=TYPE,SIZE --noheadings --raw", "partition 128M"),
        ("systemctl is-system-running --wait", "running"),
        ("test $(df --output=size --block-size=1M / | tail -1) -gt 1800 && echo full", "full"),
    ):
        assert console.run(command)[1].strip() == expected, command


def test_a_truncated_dump_leaves_nothing_that_boots(
    exported: Exported, cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    """`gnt-backup import` keeps the instance, whatever the script says, and exits with 0."""
    assert exported.files
    config = cluster.run(["cat", f"{EXPORTS}/{OLD}/config.ini"]).stdout
    dump = next(line for line in config.splitlines() if line.startswith("disk0_dump"))
    path = f"{EXPORTS}/{OLD}/{dump.partition('=')[2].strip()}"
    assert [line.split(": ")[1] for line in verify(cluster, 0)] == ["whole", "whole"]
    cluster.run(["truncate", "--size=-60M", path])
    assert [line.split(": ")[1] for line in verify(cluster, 1)] == ["damaged", "whole"]
    said = import_(cluster, instance_name(CUT), OLD, DISKS)
    assert "it ends within a frame" in said, said
    root, _ = cluster.disk_paths(CUT)
    assert cluster.run(["blkid", "-p", root], check=False).returncode == 2
