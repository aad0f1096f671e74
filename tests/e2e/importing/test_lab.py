"""The lab itself: what the tests of the importer stand on."""

import pytest

from . import records, traces
from .domains import DB1, OLD1, WEB1, Machine
from .lab import Lab

BACKUP = "/var/lib/libvirt/qemu/backup-of-a-test"
BACKUP_XML = f"""\
<domainbackup mode='pull'>
  <server transport='unix' socket='{BACKUP}/socket'/>
  <disks>
    <disk name='vda' backup='yes' type='file'><scratch file='{BACKUP}/vda'/></disk>
    <disk name='vdb' backup='no'/>
    <disk name='vdc' backup='no'/>
  </disks>
</domainbackup>
"""
CHECKPOINT_XML = """\
<domaincheckpoint>
  <name>first</name>
  <disks>
    <disk name='vda' checkpoint='bitmap'/>
    <disk name='vdb' checkpoint='no'/>
    <disk name='vdc' checkpoint='no'/>
  </disks>
</domaincheckpoint>
"""


def test_both_hosts_are_there_and_have_only_their_own(lab: Lab) -> None:
    assert lab.node.run(["hostname"]).stdout.strip() == "node1.example.org"
    assert lab.kvm.run(["hostname"]).stdout.strip() == lab.kvm.name
    groups = ["vgs", "--noheadings", "--options=vg_name"]
    assert lab.node.run(groups).stdout.split() == ["hddvg", "xenvg"]
    assert lab.kvm.run(groups).stdout.split() == ["kvmvg"]
    kit = ["test", "-e", "/usr/lib/ganeti-instance-kit"]
    assert lab.node.run(kit, check=False).returncode == 0
    assert lab.kvm.run(kit, check=False).returncode == 1
    ssh = ["ssh", "-oBatchMode=yes", lab.kvm.name]
    assert lab.node.run([*ssh, "hostname"]).stdout.strip() == lab.kvm.name


def test_volumes_are_made_renamed_extended_and_removed(lab: Lab) -> None:
    lab.node.run(["lvcreate", "--size=64M", "--name=first", "hddvg"])
    lab.node.run(["dd", "if=/dev/urandom", "of=/dev/hddvg/first", "bs=1M", "count=64"])
    digest = "head --bytes=64M /dev/hddvg/{} | sha256sum"
    before = lab.node.run(["sh", "-c", digest.format("first")]).stdout
    lab.node.run(["lvrename", "hddvg", "first", "second"])
    lab.node.run(["lvextend", "--size=+64M", "/dev/hddvg/second"])
    assert lab.node.run(["sh", "-c", digest.format("second")]).stdout == before
    size = lab.node.run(["blockdev", "--getsize64", "/dev/hddvg/second"]).stdout
    assert int(size) == 128 << 20
    attributes = lab.node.run(["lvs", "--noheadings", "--options=lv_attr", "hddvg/second"]).stdout
    assert attributes.strip().startswith("-wc-a-")
    lab.node.run(["lvremove", "--yes", "hddvg/second"])
    assert lab.node.run(["ls", "/dev/hddvg"]).stdout == ""


def test_what_is_left_on_the_hosts_is_found(lab: Lab) -> None:
    before = traces.found(lab.node, lab.kvm)
    lab.kvm.run(["sh", "-c", "sleep 777 >/dev/null 2>&1 & echo $! > /var/tmp/left"])
    lab.node.run(["lvcreate", "--size=4M", "--name=left", "--addtag=import+left", "xenvg"])
    assert traces.found(lab.node, lab.kvm) - before == {
        "KVM host: process sleep 777",
        "KVM host: file /var/tmp/left",
        "node: volume xenvg/left/import+left",
    }
    lab.kvm.run(["sh", "-c", "kill $(cat /var/tmp/left); rm /var/tmp/left"])
    lab.node.run(["lvremove", "--yes", "xenvg/left"])
    assert traces.found(lab.node, lab.kvm) == before


@pytest.mark.parametrize("machine", [WEB1, DB1, OLD1], ids=lambda machine: machine.name)
def test_a_machine_boots_from_its_root_disk(machine: Machine, lab: Lab) -> None:
    guest = lab.guest(machine)
    connection = guest.booted()
    assert connection.run("hostname --fqdn") == machine.full_name
    assert guest.connect(machine.ipv6).run("echo $SSH_CONNECTION").endswith(f"{machine.ipv6} 22")
    assert connection.run("test -e /sys/firmware/efi; echo $?") == str(int(not machine.uefi))
    root = next(disk for disk in machine.disks if disk.role == "root")
    assert connection.run("findmnt --noheadings --output=SOURCE /").startswith(
        f"/dev/{root.target}"
    )
    assert connection.run("swapon --show=UUID --noheadings") == guest.swap_uuid
    assert lab.kvm.virsh("qemu-agent-command", machine.name, '{"execute":"guest-ping"}')
    guest.off()
    assert guest.state == "shut off"


def test_the_records_of_a_machine_that_loses_power_are_on_its_disk(lab: Lab) -> None:
    guest = lab.guest(WEB1)
    connection = guest.booted()
    connection.run(f"until [ $(wc --lines < {records.PATH}) -gt 20 ]; do sleep 0.1; done")
    before = records.count(connection.run(f"head --lines=-1 {records.PATH}"))
    guest.destroy()
    assert records.on_disk(lab.kvm, WEB1.path(WEB1.disks[0]), "qcow2") >= before


def test_a_running_machine_is_backed_up_by_libvirt_alone(lab: Lab) -> None:
    guest = lab.guest(WEB1)
    guest.booted()
    lab.kvm.run(["install", "-d", "--owner=libvirt-qemu", "--mode=700", BACKUP])
    lab.kvm.write(f"{BACKUP}/backup.xml", BACKUP_XML)
    lab.kvm.write(f"{BACKUP}/checkpoint.xml", CHECKPOINT_XML)
    lab.kvm.virsh("backup-begin", WEB1.name, f"{BACKUP}/backup.xml", f"{BACKUP}/checkpoint.xml")
    lab.kvm.run(["nbdcopy", f"nbd+unix:///vda?socket={BACKUP}/socket", f"{BACKUP}/copy"])
    lab.kvm.virsh("domjobabort", WEB1.name)
    assert lab.kvm.virsh("checkpoint-list", "--name", WEB1.name) == "first"
    assert records.on_disk(lab.kvm, f"{BACKUP}/copy", "raw") > 0
    lab.kvm.run(["rm", "--recursive", BACKUP])
    guest.off()
    assert lab.kvm.virsh("checkpoint-list", "--name", WEB1.name) == ""
