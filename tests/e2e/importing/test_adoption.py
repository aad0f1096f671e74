"""Adoption by a real Ganeti: a trial, kills, and ways back. The machine has no system to boot."""

import shlex
from collections.abc import Iterator

import pytest

from .lab import Lab

DOMAIN = "still"
INSTANCE = f"{DOMAIN}.example.org"
PLAN = f"/root/{DOMAIN}.toml"
IMAGES = "/var/lib/libvirt/images"
SIZE = 1100  # MiB; Ganeti's default policy wants at least 1024
XML = f"""\
<domain type='qemu'>
  <name>{DOMAIN}</name>
  <uuid>7f1c1f9e-6d0e-4a53-9f0a-0f3f6f4c2f11</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{IMAGES}/{DOMAIN}-root'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{IMAGES}/{DOMAIN}-lvm'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <serial type='pty'/>
  </devices>
</domain>
"""
MAKE = f"""
cd {IMAGES}
truncate --size={SIZE}M {DOMAIN}-lvm
dd if=/dev/urandom of={DOMAIN}-lvm bs=1M count=8 seek=90 conv=notrunc status=none
qemu-img convert -f raw -O qcow2 -o compat=1.1 {DOMAIN}-lvm {DOMAIN}-root
chown libvirt-qemu: {DOMAIN}-*
"""
MISSING = "/srv/missing.iso"
# What an instance that runs would do: a guest of these tests would take too long to boot.
WRITE = "dd if=/dev/urandom of={} bs=1M count=8 seek=93 conv=notrunc,fsync status=none"


@pytest.fixture
def source(lab: Lab) -> Iterator[Lab]:
    """A machine that runs, and a plan of its import."""
    lab.kvm.run(["sh", "-ec", MAKE])
    lab.define(XML)
    lab.kvm.virsh("start", DOMAIN)
    kit(lab, "plan", lab.kvm.name, DOMAIN, f"--output={PLAN}", "--rule=*-lvm=hddvg")
    yield lab
    lab.kvm.virsh("destroy", DOMAIN, check=False)
    lab.kvm.virsh("undefine", DOMAIN)
    lab.kvm.run(["sh", "-c", f"rm {IMAGES}/{DOMAIN}-*"])
    lab.node.run(["rm", PLAN])


def kit(lab: Lab, *words: str, check: bool = True) -> str:
    """Runs a verb of `instance-kit import`; returns all that it printed."""
    ran = lab.node.run(["instance-kit", "import", *words], check=check, timeout=600)
    return ran.stdout + ran.stderr


def with_a_missing_image(lab: Lab, *words: str) -> str:
    """As `kit`, of a verb that fails: Ganeti looks for the file only when it adds an instance."""
    text = lab.node.run(["cat", PLAN]).stdout
    lab.node.write(
        PLAN, text.replace("[hypervisor]\n", f'[hypervisor]\ncdrom_image_path = "{MISSING}"\n')
    )
    said = kit(lab, *words, check=False)
    lab.node.write(PLAN, text)
    return said


def volumes(lab: Lab) -> dict[str, str]:
    """The tags of all volumes by name, such as hddvg/web."""
    argv = ["lvs", "--noheadings", "--separator=|", "--options=vg_name,lv_name,lv_tags"]
    rows = [line.strip().split("|") for line in lab.node.run(argv).stdout.splitlines()]
    return {f"{vg}/{lv}": tags for vg, lv, tags in rows}


def digests(lab: Lab) -> tuple[list[str], list[str]]:
    """The digests of the source's disks, and those of the volumes."""
    there = (
        f"cd {IMAGES}; qemu-img convert -U -f qcow2 -O raw {DOMAIN}-root /tmp/raw;"
        f" sha256sum /tmp/raw {DOMAIN}-lvm; rm /tmp/raw"
    )
    here = "sha256sum /dev/xenvg/*.disk0 /dev/hddvg/*.disk1"
    of_source = lab.kvm.run(["sh", "-c", there]).stdout.split()[::2]
    return of_source, lab.node.run(["sh", "-c", here]).stdout.split()[::2]


def test_a_trial_then_the_move_then_the_way_back(source: Lab) -> None:
    assert "Ganeti would not" not in kit(source, "copy", PLAN)
    refused = with_a_missing_image(source, "copy", PLAN, "--final", "--suspend")
    assert f"Ganeti would not make {INSTANCE}: " in refused and MISSING in refused
    assert source.kvm.virsh("domstate", DOMAIN) == "running"
    assert set(volumes(source).values()) == {f"import+{INSTANCE}"}
    assert "problem" not in kit(source, "plan", f"--check={PLAN}")  # what is ours is no obstacle
    refused = kit(source, "adopt", PLAN, check=False)
    assert "error: " in refused and "the source is running" in refused
    assert "gnt-instance remove would destroy the copies" in kit(
        source, "adopt", PLAN, "--trial", "--start"
    )
    assert source.node.instance_field(INSTANCE, "status") == "running"
    tags = source.node.instance_field(INSTANCE, "tags").split(",")
    assert f"imported-from:{source.kvm.name}/{DOMAIN}" in tags
    assert set(volumes(source).values()) == {f"originstname+{INSTANCE}"}

    assert f"a disk of instance {INSTANCE}" in kit(source, "copy", PLAN, "--again", check=False)
    source.node.run(["gnt-instance", "shutdown", "--timeout=0", INSTANCE])
    for path in ("/dev/xenvg/*.disk0", "/dev/hddvg/*.disk1"):
        source.node.run(["sh", "-c", WRITE.format(f"$(echo {path})")])
    of_source, copies = digests(source)
    assert not set(of_source) & set(copies)
    kit(source, "copy", PLAN, "--final", "--suspend")
    of_source, copies = digests(source)
    assert of_source == copies

    kit(source, "adopt", PLAN, "--start")
    refused = kit(source, "copy", PLAN, "--final", "--suspend", check=False)
    assert "would overwrite what it has written" in refused
    refused = kit(source, "abort", INSTANCE, check=False)
    assert "only one of them may run" in refused
    source.node.run(["gnt-instance", "shutdown", "--timeout=0", INSTANCE])
    kit(source, "abort", INSTANCE)
    assert source.kvm.virsh("domstate", DOMAIN) == "running"
    assert kit(source, "status").strip() == "no imports"
    assert len(volumes(source)) == 2  # they are the instance's
    source.node.run(["gnt-instance", "remove", "--force", INSTANCE])


@pytest.mark.parametrize("then", ["again", "abort"])
def test_it_is_killed_while_ganeti_adopts(source: Lab, then: str) -> None:
    kit(source, "copy", PLAN)
    adopt = shlex.join(["instance-kit", "import", "adopt", PLAN, "--trial"])
    jobs = "gnt-job list --no-headers -o status,summary"
    running = f"{jobs} | grep -q '^[^es].*INSTANCE_CREATE'"  # neither error nor success
    script = f"{adopt} & pid=$!; until {running}; do sleep 0.05; done; kill -KILL $pid"
    source.node.run(["sh", "-c", script])
    if then == "again":
        kit(source, "adopt", PLAN, "--trial")
        assert set(volumes(source).values()) == {f"originstname+{INSTANCE}"}
        source.node.run(["gnt-instance", "remove", "--force", INSTANCE])
        assert "no volume for disk vda, vdb" in kit(source, "adopt", PLAN, check=False)
    kit(source, "abort", INSTANCE)
    assert source.kvm.virsh("domstate", DOMAIN) == "running"
    if then == "abort":  # Ganeti has gone on: there is an instance, and abort leaves it alone
        assert set(volumes(source).values()) == {f"originstname+{INSTANCE}"}
        source.node.run(["gnt-instance", "remove", "--force", INSTANCE])
    assert volumes(source) == {}


def test_a_plan_is_checked_and_nothing_is_made(source: Lab) -> None:
    text = source.node.run(["cat", PLAN]).stdout
    bad = text.replace('vg = "hddvg"', 'vg = "none"').replace("+default", "+none")
    source.node.write("/root/bad.toml", bad)
    said = kit(source, "plan", "--check=/root/bad.toml", check=False)
    assert "problem  volume group none: this node has none of that name" in said
    assert "problem  OS debootstrap+none: not installed on all nodes" in said
    assert "problem" not in kit(source, "plan", f"--check={PLAN}")
    dry = kit(source, "adopt", PLAN, "--dry-run", "--start")
    assert dry.splitlines()[1] == f"gnt-instance startup {INSTANCE}"
    assert volumes(source) == {}
    source.node.run(["rm", "/root/bad.toml"])
