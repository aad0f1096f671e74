"""Root file systems other than ext4 boot, and swap into a file."""

from collections.abc import Callable

import pytest

from . import ssh
from .cluster import Cluster


@pytest.mark.parametrize("filesystem", ["xfs", "btrfs"])
def test_root_file_system_boots(
    filesystem: str, cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    name = instance_name(f"{filesystem}.example.org")
    params = {"filesystem": filesystem, "password_expire": "no"}
    facts = cluster.add(name, params=params)
    connection = ssh.connect(cluster, facts, facts.hosts[0])
    assert connection.run("findmnt --noheadings --output FSTYPE /") == filesystem
    assert connection.run("swapon --show=NAME --noheadings") == "/swapfile"
    assert connection.system_state() == "running"
