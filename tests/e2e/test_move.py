"""`move-instance` between two clusters: all arrives, or the source keeps it."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from . import backups
from .cluster import CREATE_ENVIRONMENT, OS_DEFINITION, QUICK, Cluster
from .sandbox import DISKS

NAME = "moved.example.org"
MOVE = "/usr/lib/ganeti/tools/move-instance"
RAPI = "/var/lib/ganeti/rapi.pem"
SECRET = "/var/lib/ganeti/cluster-domain-secret"
PEER, PASSWORD = "/root/peer.pem", "/root/peer.password"  # of the other cluster's RAPI
MIB = 1 << 20
EXPORT = f"{OS_DEFINITION}/export"
# An export that ends within the root disk, of which its stream has 300 MiB; others are whole. To
# kill one from outside while it runs would depend on who is faster.
CUT_EXPORT = f"""#!/bin/sh
[ "$EXPORT_INDEX" = 0 ] || exec {EXPORT}.whole
{EXPORT}.whole | head --bytes=32M
exit 1
"""


@pytest.fixture(scope="module")
def clusters(cluster: Cluster, second_cluster: Cluster) -> Iterator[tuple[Cluster, Cluster]]:
    """Two clusters that trust each other, as move-instance(1) tells."""
    both = (cluster, second_cluster)
    secret = cluster.run(["cat", SECRET]).stdout
    for mine, other in (both, both[::-1]):
        mine.run(["tee", SECRET], input=secret)  # keeps the owner
        mine.write(PEER, other.run(["cat", RAPI]).stdout)
        mine.write(PASSWORD, "secret\n")
    with cluster.knowing(NAME, "198.51.100.99"), second_cluster.knowing(NAME, "198.51.100.99"):
        yield both


class Moved(NamedTuple):
    """The first move: the instance is on the second cluster now."""

    said: str
    files: backups.Files
    swap: list[str]


@pytest.fixture(scope="module")
def moved(clusters: tuple[Cluster, Cluster]) -> Iterator[Moved]:
    one, two = clusters
    disks = ("size=3G", "size=256M,name=swap")
    one.add(NAME, disks=disks, nets=("link=gnt0",), params=QUICK, start=False)
    root, swap = one.disk_paths(NAME)
    files, area = backups.filled(one, root), backups.swap_area(one, swap)
    said = one.run(move_argv(one, two), timeout=600)
    yield Moved(said.stdout + said.stderr, files, area)
    for cluster in clusters:
        if NAME in instances(cluster):
            cluster.remove(NAME)


def move_argv(source: Cluster, destination: Cluster) -> list[str]:
    return [
        *(MOVE, "--verbose", "--opportunistic-tries=0"),  # the default fails (TypeError)
        *(f"--src-ca-file={RAPI}", "--src-username=admin", f"--src-password-file={PASSWORD}"),
        *(f"--dest-ca-file={PEER}", f"--dest-primary-node={destination.node}"),
        *("--dest-disk-template=file", "--net=0:mac=generate"),
        *(source.name, destination.name, NAME),
    ]


def instances(cluster: Cluster) -> list[str]:
    return cluster.run(["gnt-instance", "list", "--no-headers", "--output=name"]).stdout.split()


def test_all_arrives(moved: Moved, clusters: tuple[Cluster, Cluster]) -> None:
    _, two = clusters
    assert f"{NAME}: Success" in moved.said and "WARNING" not in moved.said
    assert [NAME in instances(each) for each in clusters] == [False, True]
    root, swap = two.disk_paths(NAME)
    backups.require_same_files(backups.files(two, root), moved.files)
    assert backups.swap_area(two, swap) == moved.swap


@pytest.fixture
def back(moved: Moved, clusters: tuple[Cluster, Cluster]) -> Iterator[list[str]]:
    """The command that would move it back. It must fail: the source keeps all, and nothing that
    could be taken for it stays on the destination."""
    destination, source = clusters
    yield move_argv(source, destination)
    assert [NAME in instances(each) for each in clusters] == [True, True]
    assert backups.looks_empty(destination, destination.disk_paths(NAME)[0])
    backups.require_same_files(backups.files(source, source.disk_paths(NAME)[0]), moved.files)
    destination.remove(NAME)


def failed_move(source: Cluster, argv: list[str]) -> str:
    """Runs a move, which must fail; gives what it said."""
    ran = source.run(argv, check=False, timeout=600)
    said = ran.stdout + ran.stderr
    assert f"{NAME}: Failed" in said, said
    return said


@pytest.fixture
def cut_export(clusters: tuple[Cluster, Cluster]) -> Iterator[None]:
    """On the second cluster."""
    _, source = clusters
    source.run(["mv", EXPORT, f"{EXPORT}.whole"])
    source.write(EXPORT, CUT_EXPORT, mode=0o755)
    yield
    source.run(["mv", f"{EXPORT}.whole", EXPORT])


@pytest.mark.usefixtures("cut_export")
def test_a_cut_stream(back: list[str], clusters: tuple[Cluster, Cluster]) -> None:
    said = failed_move(clusters[1], back)
    ends = f"error: import of disk 0 of {NAME}: the stream on stdin: it ends"
    assert ends in said, said


def size_of_import(cluster: Cluster, disk: str) -> int:
    """How many bytes of a file system the import of a disk takes up."""
    place = f"{DISKS}/measured"
    environ = dict(line.split("=", 1) for line in CREATE_ENVIRONMENT.read_text().splitlines())
    for script, path in (("EXPORT", disk), ("IMPORT", place)):
        environ |= {f"{script}_DEVICE": path, f"{script}_INDEX": "0"}
    size = cluster.run(["stat", "--format=%s", disk]).stdout.strip()
    work = f"truncate --size={size} {place}; ./export | ./import; stat -c '%b' {place}; rm {place}"
    chdir = ("env", f"--chdir={OS_DEFINITION}")
    return int(cluster.run([*chdir, "sh", "-ec", work], env=environ).stdout) * 512


@pytest.fixture
def short_storage(moved: Moved, clusters: tuple[Cluster, Cluster]) -> Iterator[None]:
    """On the first cluster there are some MiB less than the instance needs."""
    assert moved
    destination, source = clusters
    size = size_of_import(source, source.disk_paths(NAME)[0]) - 3 * MIB
    destination.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", DISKS])
    yield
    destination.run(["umount", DISKS])


@pytest.mark.usefixtures("short_storage")
def test_a_disk_that_fails_at_its_end(back: list[str], clusters: tuple[Cluster, Cluster]) -> None:
    """Ganeti removes the source as soon as all was read, whatever the import says then."""
    said = failed_move(clusters[1], back)
    assert "No space left on device" in said, said
