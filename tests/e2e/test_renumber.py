"""A guest with addresses of another network and no swap area: renumbered, checked, booted.

Its NIC has a name of another machine type, and its serial console is not configured.
"""

from collections.abc import Callable

import pytest

from . import ssh
from .cluster import QUICK, Cluster

# Makes the guest one that has just come from another virtualization host.
FOREIGN = r"""
set -eu
rm etc/systemd/network/10-eth0.link etc/systemd/system/pin-nic-names.service
rm etc/systemd/system/multi-user.target.wants/pin-nic-names.service usr/local/sbin/pin-nic-names
rm etc/network/interfaces.d/eth0
cat >etc/network/interfaces.d/uplink <<EOF
allow-hotplug ens9
iface ens9 inet static
  address 192.0.2.10
  netmask 255.255.255.0
  gateway 192.0.2.1
EOF
echo 'ListenAddress 192.0.2.10' >etc/daemon.conf
sed -i -E 's/^UUID=[0-9a-f-]+( +none +swap)/UUID=0c0c0c0c-0000-4000-8000-000000000003\1/' etc/fstab
grep -q 0c0c0c0c etc/fstab
rm etc/default/grub.d/ganeti-instance-kit.cfg
sed -i -E '/^ *(serial|terminal_(in|out)put) /d; s/ console=[^ ]+//g' boot/grub/grub.cfg
"""
EMULATED = {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}


@pytest.fixture(scope="module")
def name(instance_name: Callable[[str], str]) -> str:
    return instance_name("renumbered.example.org")


def test_a_foreign_guest_boots_with_its_new_addresses(cluster: Cluster, name: str) -> None:
    disks = ("size=3G", "size=256M,name=swap")
    facts = cluster.add(name, disks=disks, params=QUICK, start=False)
    cluster.run(["gnt-instance", "activate-disks", name])
    cluster.run(["instance-kit", "shell", "--write", name, "sh", "-c", FOREIGN], env=EMULATED)
    cluster.run(["gnt-instance", "deactivate-disks", name])

    shown = cluster.run(["instance-kit", "import", "renumber", name, "--yes"]).stdout
    four, six = facts.addresses
    assert f"NIC 0 (ens9): 192.0.2.10/24 -> {four}" in shown
    assert f"NIC 0 (ens9): new {six}" in shown
    assert "/etc/daemon.conf:1: ListenAddress 192.0.2.10" in shown
    again = cluster.run(["instance-kit", "import", "renumber", name, "--yes"]).stdout
    assert again.startswith("nothing to change\n")

    before = cluster.run(["instance-kit", "import", "check", name], check=False)
    assert before.returncode == 1
    assert "the boot waits 90 s for it" in before.stdout
    after = cluster.run(["instance-kit", "import", "check", name, "--fix", "--yes"]).stdout
    assert "ok       serial console: GRUB, kernel and login use ttyS0" in after
    assert "virtio_pci and virtio_blk" in after

    console = cluster.start_instance(name)  # GRUB's menu and the login are on the serial console
    assert "A start job is running for" not in console.transcript
    for connection in ssh.connect_all(cluster, facts):  # with the host keys of before
        assert connection.run("cat /sys/class/net/ens9/address").count(":") == 5
    assert connection.run("swapon --show=NAME --noheadings").startswith("/dev/vdb")
    assert connection.system_state() == "running"
