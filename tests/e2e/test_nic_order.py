"""eth0 is Ganeti's NIC 0, whatever the order on the PCI bus."""

from collections.abc import Callable

from .cluster import Cluster
from .qemu import booted

ADDRESSES = "cat /sys/class/net/eth0/address /sys/class/net/eth1/address"


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
        assert console.run(ADDRESSES) == (0, "\n".join([*macs, ""]))
        # The order was indeed the other one.
        _, slots = console.run("cd /sys/bus/pci/devices; cat 0000:00:1[01].0/virtio*/net/*/address")
        assert slots.split() == list(reversed(macs))
        # Here the initramfs had moved them out of each other's way, by giving them the names of
        # their slots. Without that, udev finds each name taken, and gives up.
        console.run("sed -i 's/ ro / ro net.ifnames=0 /' /boot/grub/grub.cfg; sync")
        console.send("reboot")
        console.wait_login()
        assert not console.login("root", facts.password)
        assert console.run("grep -o net.ifnames=0 /proc/cmdline") == (0, "net.ifnames=0\n")
        assert console.run(ADDRESSES) == (0, "\n".join([*macs, ""]))
