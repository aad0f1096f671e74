"""The machine to import: its domain, the plan of its import, and what changes on its disk: pure."""

import random
from dataclasses import dataclass
from typing import Literal

from layout import CLUSTER

from importer.plan.file import render
from importer.plan.model import DiskPlan, ImportPlan, NicPlan
from importer.plan.rules import Draft

SEED = 13
IMAGES = "/var/lib/libvirt/images"  # on the KVM host
GROUP = "xenvg"  # on the node
CHANGED = 0.01  # share of the disk that changes between two passes
# Lengths of changes: 64 KiB to 1 MiB.
LENGTHS = tuple(CLUSTER << shift for shift in range(5))


@dataclass(frozen=True)
class Machine:
    """A machine with one disk.

    It has no operating system: the firmware finds nothing to boot, and idles. What a guest would
    write is written through its disk by QEMU's monitor.

    Attributes:
        size: of the disk, bytes.
    """

    name: str
    format: Literal["qcow2", "raw"]
    size: int

    @property
    def instance(self) -> str:
        return f"{self.name}.example.org"

    @property
    def uuid(self) -> str:
        return f"6b766d31-0000-4000-8000-{200 + len(self.format):012}"

    @property
    def image(self) -> str:
        """On the KVM host."""
        return f"{IMAGES}/{self.name}.{self.format}"

    @property
    def volume(self) -> str:
        """On the node; each contender copies into it."""
        return f"/dev/{GROUP}/{self.name}-root"


def domain_xml(machine: Machine) -> str:
    """The domain; its type is qemu, without KVM."""
    return f"""\
<domain type='qemu'>
  <name>{machine.name}</name>
  <uuid>{machine.uuid}</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='{machine.format}'/>
      <source file='{machine.image}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <memballoon model='none'/>
  </devices>
</domain>
"""


def plan(machine: Machine, host: str) -> str:
    """The plan of its import from a KVM host."""
    disk = DiskPlan(
        target="vda",
        path=machine.image,
        format=machine.format,
        is_block=False,
        size=machine.size,
        vg=GROUP,
        lv=machine.volume.rpartition("/")[2],
        volume_size=machine.size,
    )
    made = ImportPlan(
        host=host,
        domain=machine.name,
        uuid=machine.uuid,
        instance=machine.instance,
        node="node1.example.org",
        os="debootstrap+bookworm",
        vcpus=1,
        memory=64 << 20,
        disks=(disk,),
        nics=(NicPlan("52:54:00:6b:76:98", "generate", "gnt-fsn"),),
        ignore_ipolicy=True,
    )
    return render(Draft(made))


def changes(size: int, number: int) -> list[tuple[int, int]]:
    """The ranges (start, length) in bytes that change before a pass: CHANGED of the disk.

    They are whole clusters, do not overlap, and are other ones for each `number`.
    """
    chance = random.Random(f"{SEED} {number}")
    left = max(int(size * CHANGED) // CLUSTER, 1) * CLUSTER
    places = list(range(0, size - LENGTHS[-1] + 1, LENGTHS[-1]))
    chance.shuffle(places)
    ranges = []
    for start in places:
        length = min(chance.choice(LENGTHS), left)
        ranges.append((start, length))
        left -= length
        if left == 0:
            break
    return sorted(ranges)


def writes(machine: Machine, ranges: list[tuple[int, int]], byte: int) -> str:
    """A script for the KVM host that fills ranges of the disk, as the running guest would.

    QEMU's monitor does not tell whether a write has failed; so the image is read afterwards.
    """
    write = f"virsh --quiet qemu-monitor-command {machine.name} --hmp"
    write += " 'qemu-io -d virtio-disk0/virtio-backend \"write -P {} {} {}\"'"
    lines = [write.format(byte, *each) for each in ranges]
    reads = [f"-c 'read -P {byte} {start} {length}'" for start, length in ranges]
    lines.append(f"qemu-io -r -U -f {machine.format} {' '.join(reads)} {machine.image}")
    return "\n".join(["set -e", *lines, ""])
