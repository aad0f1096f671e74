"""`instance-kit import inventory` on the domains of the KVM host."""

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .domains import DB1, GROUP, IMAGES, MEMORY, OLD1, WEB1
from .lab import Lab

MIB = 1 << 20
# A domain of everything that an inventory has to read, or to name as an obstacle; no guest is in
# it. The disk with the boot loader is the second one.
ODD = f"""\
<domain type='qemu'>
  <name>odd one</name>
  <memory unit='MB'>64</memory>
  <vcpu current='1'>2</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <cpu mode='host-model'/>
  <devices>
    <disk type='volume' device='disk'>
      <driver name='qemu' type='qcow2'/><source pool='images' volume='odd data.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw'/><source dev='/dev/{GROUP}/odd-root'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='{IMAGES}/odd-chain.qcow2'/>
      <target dev='sda' bus='scsi'/>
    </disk>
    <disk type='file' device='cdrom'>
      <source file='/etc/hostname'/><target dev='sdb' bus='sata'/><readonly/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sdc' bus='sata'/><readonly/></disk>
    <controller type='scsi' model='virtio-scsi'/>
    <tpm model='tpm-tis'>
      <backend type='passthrough'><device path='/dev/tpm0'/></backend>
    </tpm>
  </devices>
</domain>
"""
MADE = f"""\
cd {IMAGES}
truncate --size=64M data
mkfs.ext4 -q -L data -U 22222222-2222-4333-8444-555555555555 data
qemu-img convert -O qcow2 data 'odd data.qcow2'
rm data
qemu-img create -q -f qcow2 -b 'odd data.qcow2' -F qcow2 odd-chain.qcow2
lvcreate --size=32M --name=odd-root {GROUP}
printf 'label: dos\\nsize=16M\\n,,S\\n' | sfdisk --quiet --no-reread /dev/{GROUP}/odd-root
printf '\\353\\143\\220' | dd of=/dev/{GROUP}/odd-root conv=notrunc status=none
virsh --quiet pool-create-as images dir --target {IMAGES}
"""


def inventory(lab: Lab, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    argv = ["instance-kit", "import", "inventory", lab.kvm.name, *words]
    return lab.node.run(argv, check=check)


def as_json(lab: Lab, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(inventory(lab, *words, "--json").stdout)
    return found


def servers(lab: Lab) -> str:
    """What of ours is on the KVM host."""
    return lab.kvm.run(
        ["sh", "-c", "pgrep --list-full qemu-nbd; ls -d /tmp/ganeti-instance-kit.*"], check=False
    ).stdout


@pytest.fixture(scope="module")
def _odd(clean_lab: Lab) -> Iterator[None]:
    clean_lab.kvm.run(["sh", "-euc", MADE])
    clean_lab.define(ODD)
    yield
    clean_lab.kvm.virsh("undefine", "odd one")
    clean_lab.kvm.virsh("pool-destroy", "images")
    clean_lab.kvm.run(["lvremove", "--yes", f"{GROUP}/odd-root"])
    clean_lab.kvm.run(["rm", f"{IMAGES}/odd data.qcow2", f"{IMAGES}/odd-chain.qcow2"])


@pytest.mark.usefixtures("_odd")
def test_what_cannot_be_moved_is_named(lab: Lab) -> None:
    (found,) = as_json(lab, "odd one")["domains"]
    domain = found["domain"]
    assert (domain["vcpus"], domain["memory"]) == (1, 62500 * 1024)  # whole KiB
    assert (domain["cpu"], domain["scsi_controller"]) == ("host-model", "virtio-scsi")
    root, data, chain = found["disks"]
    assert (root["disk"]["target"], root["boots"], root["table"]) == ("vdb", True, "dos")
    assert root["size"] == root["allocated"] == 32 * MIB
    assert data["disk"]["path"] == f"{IMAGES}/odd data.qcow2"
    assert [area["uuid"] for area in data["areas"]] == ["22222222-2222-4333-8444-555555555555"]
    assert data["keeps_bitmaps"] and not root["keeps_bitmaps"]
    assert chain["areas"] == []
    assert sorted(each["what"] for each in domain["obstacles"]) == [
        "cdrom sdb: there is a medium in it",
        "disk sda: its image is based on another one, odd data.qcow2",
        "it has a TPM, whose state stays on the KVM host",
    ]
    assert "virsh change-media 'odd one' sdb --eject" in inventory(lab, "odd one").stdout
    assert servers(lab) == ""


@pytest.mark.usefixtures("_odd")
def test_an_image_that_is_missing_is_named(lab: Lab) -> None:
    lab.kvm.run(["mv", f"{IMAGES}/odd-chain.qcow2", f"{IMAGES}/away"])
    failed = inventory(lab, "odd one", "none", check=False)
    lab.kvm.run(["mv", f"{IMAGES}/away", f"{IMAGES}/odd-chain.qcow2"])
    assert failed.returncode == 3
    assert f"source {IMAGES}/odd-chain.qcow2 on {lab.kvm.name}: it does not exist" in failed.stderr
    assert "domain none on kvm1.example.org: libvirt has none of that name" in failed.stderr
    assert failed.stderr.splitlines()[-2] == (
        "error: domains of kvm1.example.org: no inventory of odd one, none (2 of 2)"
    )


@pytest.mark.usefixtures("_odd")
def test_nothing_stays_on_the_host_of_an_inventory_that_is_killed(lab: Lab) -> None:
    kit = f"echo $$ > /run/inventory.pid; exec instance-kit import inventory {lab.kvm.name}"
    with subprocess.Popen(lab.node.argv(["sh", "-c", kit]), stdout=subprocess.DEVNULL):
        deadline = time.monotonic() + 60
        while "qemu-nbd --read-only" not in servers(lab):
            assert time.monotonic() < deadline
        lab.node.run(["sh", "-c", "kill -KILL $(cat /run/inventory.pid)"])
    deadline = time.monotonic() + 30
    while servers(lab):
        assert time.monotonic() < deadline, servers(lab)


def test_an_unknown_host_is_not_trusted(lab: Lab) -> None:
    known = "/root/.ssh/known_hosts"
    lab.node.run(["mv", known, f"{known}.away"])
    failed = inventory(lab, check=False)
    lab.node.run(["mv", f"{known}.away", known])
    assert failed.returncode == 3
    error, hint = failed.stderr.splitlines()
    assert error == f"error: KVM host {lab.kvm.name}: its host key is not known here"
    assert hint.startswith(f"hint: add it: ssh {lab.kvm.name}")


def test_machines_of_three_kinds(lab: Lab) -> None:
    web1, db1, old1 = (lab.guest(machine) for machine in (WEB1, DB1, OLD1))
    web1.booted()
    db1.off()
    old1.off()
    found = as_json(lab, WEB1.name, DB1.name, OLD1.name)
    web, db, old = found["domains"]
    assert [each["state"] for each in found["domains"]] == ["running", "shut off", "shut off"]
    assert [each["disk"]["target"] for each in web["disks"]] == ["vdb", "vda", "vdc"]
    assert [each["boots"] for each in web["disks"]] == [True, False, False]
    for each, guest, number in ((web, web1, 2), (db, db1, 1)):
        (area,) = each["disks"][number]["areas"]
        assert (area["type"], area["start"], area["uuid"]) == ("swap", 0, guest.swap_uuid)
    assert (db["domain"]["firmware"], web["domain"]["firmware"]) == ("uefi", "bios")
    assert db["domain"]["nvram"].endswith(".fd")
    assert [each["disk"]["is_block"] for each in db["disks"]] == [True, True]
    assert [each["keeps_bitmaps"] for each in web["disks"]] == [True] * 3
    assert not old["disks"][0]["keeps_bitmaps"]
    for each, machine in ((web, WEB1), (db, DB1), (old, OLD1)):
        domain = each["domain"]
        assert (domain["name"], domain["uuid"]) == (machine.name, machine.uuid)
        assert domain["memory"] == MEMORY * MIB
        assert [nic["mac"] for nic in domain["nics"]] == [machine.mac]
        assert domain["has_agent"] and domain["has_console"] and not domain["obstacles"]
        sizes = {disk.target: disk.size * MIB for disk in machine.disks}
        assert {disk["disk"]["target"]: disk["size"] for disk in each["disks"]} == sizes
    assert found["totals"]["disks"] == 6
    assert [group["group"] for group in found["volume_groups"]] == ["hddvg", "xenvg"]
    assert web1.state == "running" and servers(lab) == ""
