"""An instance gets another name, and another installation that spares its data."""

from collections.abc import Callable

from . import ssh
from .cluster import CREATE_TIMEOUT, Cluster

OLD, NEW = "before.example.org", "after.example.org"
DISKS = ("size=3G", "size=256M,name=srv")


def test_rename_and_reinstall(cluster: Cluster, instance_name: Callable[[str], str]) -> None:
    name = instance_name(OLD)
    first = cluster.add(name, disks=DISKS, params={"password_expire": "no"})
    connection = ssh.connect(cluster, first, first.hosts[0])
    connection.run("echo precious > /srv/data; sync")
    cluster.stop_instance(name)

    # Without the check of the name, Ganeti would ask on a terminal whether it is right.
    cluster.run(["sh", "-c", f"echo 198.51.100.99 {NEW} >> /etc/hosts"])
    cluster.run(["gnt-instance", "rename", "--no-ip-check", name, NEW], timeout=CREATE_TIMEOUT)
    name = instance_name(NEW)
    cluster.start_instance(name)
    connection = ssh.connect(cluster, first, first.hosts[0])
    assert connection.run("hostname -f; cat /etc/hostname /etc/mailname").split() == [NEW] * 3
    hosts = connection.run("cat /etc/hosts").split()
    assert NEW in hosts and "after" in hosts and OLD not in hosts and "before" not in hosts
    cluster.stop_instance(name)

    cluster.run(["gnt-instance", "reinstall", "--force", name], timeout=CREATE_TIMEOUT)
    second = cluster.facts()
    assert second.password != first.password
    assert second.addresses == first.addresses
    assert not second.fingerprints & first.fingerprints
    cluster.start_instance(name)
    connection = ssh.connect(cluster, second, second.hosts[0])
    assert connection.run("cat /srv/data") == "precious"
    assert connection.run("hostname -f") == NEW
