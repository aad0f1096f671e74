"""A disk with a GPT and XFS boots under BIOS and under UEFI.

Under UEFI its NICs are in another order on the PCI bus: eth0 is Ganeti's NIC 0, whatever the order.
"""

from collections.abc import Callable

import pytest

from . import ssh
from .cluster import QUICK, Cluster
from .qemu import booted
from .scrape import Facts

ADDRESSES = "cat /sys/class/net/eth0/address /sys/class/net/eth1/address"


@pytest.fixture(scope="module")
def instance(cluster: Cluster, instance_name: Callable[[str], str]) -> tuple[str, Facts]:
    name = instance_name("gpt.example.org")
    facts = cluster.add(
        name,
        nets=("ip=pool,network=gnt-fsn", "ip=pool,network=gnt-be"),
        params={"partition_style": "gpt", "filesystem": "xfs", **QUICK},
        start=False,
    )
    return name, facts


def test_boots_under_uefi_and_names_follow_macs_not_slots(
    instance: tuple[str, Facts], cluster: Cluster
) -> None:
    name, facts = instance
    macs = cluster.instance_field(name, "nic.macs").split(",")
    disks = cluster.disk_paths(name)
    with booted(cluster, disks, macs=list(reversed(macs)), uefi=True) as console:
        console.wait_grub()
        console.wait_login()
        assert not console.login("root", facts.password)
        assert console.run("test -d /sys/firmware/efi") == (0, "")
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


def test_boots_under_bios(instance: tuple[str, Facts], cluster: Cluster) -> None:
    name, facts = instance
    cluster.start_instance(name)
    connection = ssh.connect(cluster, facts, facts.hosts[0])
    assert connection.run("ls -d /sys/firmware/efi 2>/dev/null || echo bios") == "bios"
    assert connection.run("lsblk --noheadings --nodeps --output PTTYPE /dev/vda") == "gpt"
    assert connection.run("findmnt --noheadings --output FSTYPE /") == "xfs"
    assert connection.run("swapon --show=NAME --noheadings") == "/swapfile"
    assert connection.system_state() == "running"
