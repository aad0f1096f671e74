"""A disk with a GPT and XFS boots under BIOS and under UEFI.

Its NICs are in another order on the PCI bus: eth0 is Ganeti's NIC 0, whatever the order.
"""

from collections.abc import Callable

import pytest

from .cluster import QUICK, Cluster
from .console import Console
from .qemu import booted
from .scrape import Facts

ADDRESSES = "cat /sys/class/net/eth0/address /sys/class/net/eth1/address"


SLOTS = "cd /sys/bus/pci/devices; cat 0000:00:1[01].0/virtio*/net/*/address"
CHANGE_COMMAND_LINE = ("sed", "-i", "s/ ro / ro net.ifnames=0 /", "boot/grub/grub.cfg")
EMULATED = {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}


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


def has_names_by_macs(console: Console, macs: list[str]) -> None:
    assert console.run(ADDRESSES) == (0, "\n".join([*macs, ""]))
    # The order was indeed the other one.
    assert console.run(SLOTS)[1].split() == list(reversed(macs))


def test_boots_under_uefi(instance: tuple[str, Facts], cluster: Cluster) -> None:
    name, facts = instance
    macs = cluster.instance_field(name, "nic.macs").split(",")
    disks = cluster.disk_paths(name)
    with booted(cluster, disks, macs=list(reversed(macs)), uefi=True) as console:
        console.wait_grub()
        console.wait_login()
        assert not console.login("root", facts.password)
        assert console.run("test -d /sys/firmware/efi") == (0, "")
        has_names_by_macs(console, macs)


def test_boots_under_bios(instance: tuple[str, Facts], cluster: Cluster) -> None:
    name, facts = instance
    macs = cluster.instance_field(name, "nic.macs").split(",")
    [disk] = cluster.disk_paths(name)
    # In the other boot the initramfs had moved the NICs out of each other's way, by giving them the
    # names of their slots. Without that, udev finds each name taken, and gives up.
    inactive = cluster.run(["instance-kit", "mount", name], check=False)
    assert f"disks of {name}: not active on this node" in inactive.stderr
    cluster.run(["gnt-instance", "activate-disks", name])
    cluster.run(["instance-kit", "shell", "--write", name, *CHANGE_COMMAND_LINE], env=EMULATED)
    with booted(cluster, [disk], macs=list(reversed(macs))) as console:
        used = cluster.run(["instance-kit", "mount", "--write", name], check=False)
        assert f"disk {disk}: in use: " in used.stderr
        console.wait_grub()
        console.wait_login()
        assert not console.login("root", facts.password)
        assert console.run("grep -o net.ifnames=0 /proc/cmdline") == (0, "net.ifnames=0\n")
        has_names_by_macs(console, macs)
        for command, said in (
            ("ls -d /sys/firmware/efi 2>/dev/null || echo bios", "bios"),
            ("lsblk --noheadings --nodeps --output PTTYPE /dev/vda", "gpt"),
            ("findmnt --noheadings --output FSTYPE /", "xfs"),
            ("swapon --show=NAME --noheadings", "/swapfile"),
            ("systemctl is-system-running --wait", "running"),
        ):
            assert console.run(command)[1].strip() == said, command
