"""The lab itself: what the tests of the importer stand on."""

from .lab import Lab


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
    assert lab.node.run([*ssh, "hostname; virsh list --all --name"]).stdout.split() == [
        lab.kvm.name
    ]


def test_volumes_are_made_renamed_extended_and_removed(lab: Lab) -> None:
    lab.node.run(["lvcreate", "--size=64M", "--name=first", "hddvg"])
    lab.node.run(["dd", "if=/dev/urandom", "of=/dev/hddvg/first", "bs=1M", "count=64"])
    digest = ["sh", "-c", "head --bytes=64M /dev/hddvg/second | sha256sum"]
    lab.node.run(["lvrename", "hddvg", "first", "second"])
    before = lab.node.run(digest).stdout
    lab.node.run(["lvextend", "--size=+64M", "/dev/hddvg/second"])
    assert lab.node.run(digest).stdout == before
    size = lab.node.run(["blockdev", "--getsize64", "/dev/hddvg/second"]).stdout
    assert int(size) == 128 << 20
    lab.node.run(["lvremove", "--yes", "hddvg/second"])
    assert lab.node.run(["ls", "/dev/hddvg"]).stdout == ""
