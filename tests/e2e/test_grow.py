"""File systems follow their disks: `gnt-instance grow-disk` and a reboot are enough."""

from collections.abc import Callable

from . import ssh
from .cluster import Cluster

SIZES = "df --output=size --block-size=1M / /srv | tail -n +2"


def test_root_and_data_grow_at_boot(cluster: Cluster, instance_name: Callable[[str], str]) -> None:
    name = instance_name("grow.example.org")
    facts = cluster.add(
        name,
        disks=("size=3G", "size=256M,name=srv"),
        params={"password_expire": "no"},
    )
    connection = ssh.connect(cluster, facts, facts.hosts[0])
    before = [int(size) for size in connection.run(SIZES).split()]
    cluster.stop_instance(name)
    cluster.run(["gnt-instance", "grow-disk", name, "0", "1g"])
    cluster.run(["gnt-instance", "grow-disk", name, "1", "512m"])
    cluster.start_instance(name)
    connection = ssh.connect(cluster, facts, facts.hosts[0])
    root, srv = (int(size) for size in connection.run(SIZES).split())
    assert root - before[0] > 900
    assert srv - before[1] > 400
    assert connection.system_state() == "running"
