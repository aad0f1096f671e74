"""systemd-networkd instead of ifupdown."""

from collections.abc import Callable

from . import ssh
from .cluster import Cluster


def test_networkd_configures_both_families(
    cluster: Cluster, instance_name: Callable[[str], str]
) -> None:
    name = instance_name("networkd.example.org")
    params = {"network_stack": "networkd", "password_expire": "no"}
    facts = cluster.add(name, params=params)
    connections = ssh.connect_all(cluster, facts)
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
