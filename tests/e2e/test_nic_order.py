"""eth0 is Ganeti's NIC 0, whatever the order on the PCI bus."""

from collections.abc import Callable

from .cluster import Cluster
from .qemu import booted


def test_names_follow_macs_not_slots(cluster: Cluster, instance_name: Callable[[str], str]) -> None:
    name = instance_name("nics.example.org")
    facts = cluster.add(
        name,
        nets=("ip=pool,network=gnt-fsn", "ip=pool,network=gnt-be"),
        params={"password_expire": "no"},
        start=False,
    )
    macs = cluster.instance_field(name, "nic.macs").split(",")
    with booted(cluster, cluster.disk_paths(name), macs=list(reversed(macs))) as console:
        console.wait_login()
        assert not console.login("root", facts.password)
        _, shown = console.run("cat /sys/class/net/eth0/address /sys/class/net/eth1/address")
        assert shown.split() == macs
        # The order was indeed the other one.
        _, slots = console.run("cd /sys/bus/pci/devices; cat 0000:00:1[01].0/virtio*/net/*/address")
        assert slots.split() == list(reversed(macs))
