"""What the tests of backups share: guests with files that backups lose, and `gnt-backup`."""

import json
from collections.abc import Sequence

from .cluster import CHECKOUT, Cluster

EXPORTS = "/var/lib/ganeti/export"
# Of a guest that is off: its root file system is on the last partition, or on the whole disk.
ON_ITS_FILES = """
import json, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.system.backup import payload
disk, work = sys.argv[2:]
said = lambda *argv: subprocess.run(argv, stdout=subprocess.PIPE, text=True).stdout
starts = said("partx", "--raw", "--noheadings", "--output=START", disk).split()
offset = int(starts[-1]) * 512 if starts else 0
kind = said("blkid", "-p", f"-O{offset}", "-oexport", disk).partition("\\nTYPE=")[2].split()[0]
options = {"ext4": "ro,noload", "xfs": "ro,norecovery"}.get(kind, "ro") if work == "read" else "rw"
subprocess.run(["mount", "-o", f"{options},offset={offset}", disk, "/mnt"], check=True)
try:
    if work == "fill":
        Path("/mnt/srv/payload").mkdir()
        payload.fill(Path("/mnt/srv/payload"))
    print(json.dumps(payload.manifest(Path("/mnt")), default=str))
finally:
    subprocess.run(["umount", "/mnt"], check=True)
"""
# What the rename writes into a guest.
RENAMED = ("etc", "etc/hostname", "etc/hosts", "etc/mailname", "etc/systemd/network/10-eth0.link")

Files = dict[str, dict[str, object]]


def filled(cluster: Cluster, disk: str) -> Files:
    """Adds files of all kinds to a guest's root disk; returns all facts of all its files."""
    return _files(cluster, disk, "fill")


def files(cluster: Cluster, disk: str) -> Files:
    """All facts of all files on a guest's root disk."""
    return _files(cluster, disk, "read")


def _files(cluster: Cluster, disk: str, work: str) -> Files:
    argv = ["/usr/bin/python3", "-B", "-c", ON_ITS_FILES, CHECKOUT, disk, work]
    found: Files = json.loads(cluster.run(argv).stdout)
    return found


def require_same_files(found: Files, expected: Files, *, renumbered: bool = False) -> None:
    """All is as it was, but for what the rename wrote.

    Args:
        found: as it is.
        expected: as it was.
        renumbered: whether resize2fs may have given inodes other numbers. Directories get another
            time then.
    """
    assert found.keys() == expected.keys()
    for name in found.keys() - set(RENAMED):
        now, before = dict(found[name]), dict(expected[name])
        for fact in ("inode", "blocks", *(() if "digest" in before else ("mtime",))):
            if renumbered:
                now.pop(fact, None)
                before.pop(fact, None)
        assert now == before, name


def swap_area(cluster: Cluster, disk: str) -> list[str]:
    """UUID, label and the like, but not the size."""
    said = cluster.run(["blkid", "-p", "-o", "export", disk]).stdout.splitlines()[1:]
    return [line for line in said if not line.startswith("FS")]


def export(cluster: Cluster, name: str) -> None:
    """Exports an instance that is off."""
    cluster.run(["mkdir", "-p", EXPORTS])
    cluster.run(["gnt-backup", "export", f"--node={cluster.node}", name], timeout=600)


def import_(cluster: Cluster, name: str, old: str, disks: Sequence[str]) -> str:
    """Imports an instance; returns what Ganeti says. It exits with 0, whatever the script says."""
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


def looks_empty(cluster: Cluster, disk: str) -> bool:
    """Whether no file system or partition table is found on a disk, so that nothing boots it."""
    return cluster.run(["blkid", "-p", disk], check=False).returncode == 2
