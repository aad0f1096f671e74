"""systemd-networkd instead of ifupdown, and btrfs instead of ext4."""

from collections.abc import Callable

import pytest

from . import ssh
from .cluster import QUICK, Cluster
from .scrape import Facts
from .ssh import Ssh


@pytest.fixture(scope="module")
def guest(cluster: Cluster, instance_name: Callable[[str], str]) -> tuple[Facts, list[Ssh]]:
    name = instance_name("networkd.example.org")
    params = {"network_stack": "networkd", "filesystem": "btrfs", **QUICK}
    facts = cluster.add(name, params=params)
    return facts, ssh.connect_all(cluster, facts)


def test_networkd_configures_both_families(guest: tuple[Facts, list[Ssh]]) -> None:
    facts, connections = guest
    for connection in connections:
        assert connection.run("systemctl is-active systemd-networkd") == "active"
    shown = connections[0].run("ip -o address show dev eth0 scope global")
    assert {str(address) for address in facts.addresses} == {
        line.split()[3] for line in shown.splitlines()
    }
    routes = connections[0].run("ip route show default; ip -6 route show default")
    assert "via 198.51.100.1 " in routes and "via 2001:db8:0:4f::1 " in routes
    # accept_ra 0: the addresses are those of the OS log, whatever a router says.
    assert connections[0].run("sysctl -n net.ipv6.conf.eth0.accept_ra") == "0"
    assert connections[0].system_state() == "running"


def test_btrfs_boots_and_holds_a_swapfile(guest: tuple[Facts, list[Ssh]]) -> None:
    connection = guest[1][0]
    assert connection.run("findmnt --noheadings --output FSTYPE /") == "btrfs"
    assert connection.run("swapon --show=NAME --noheadings") == "/swapfile"
