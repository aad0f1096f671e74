"""A domain with two disks and swap for tests of passes, as libvirt 9.0 and QEMU 7.2 tell of it."""

import json
from dataclasses import replace
from typing import Any

from importer.copying.jobs import facts
from importer.copying.jobs.facts import SourceFacts
from importer.plan.model import DiskPlan, ImportPlan

GIB = 1 << 30
UUID = "0e6a4f5c-1f3f-4a30-8a5f-6d2a4e1b7c11"
TOKEN = "00112233aabbccdd"
DIRECTORY = f"/var/lib/libvirt/qemu/ganeti-instance-kit-{TOKEN}"
SOCKET = f"/var/lib/libvirt/qemu/domain-1-web/ganeti-instance-kit-{TOKEN}.nbd"
POINT = f"ganeti-instance-kit-{TOKEN}-aaaaaa"
NEXT = f"ganeti-instance-kit-{TOKEN}-bbbbbb"
VDA = DiskPlan(
    "vda", "/srv/web root.qcow2", "qcow2", False, 10 * GIB, "xenvg", "web-root", 10 * GIB
)
VDB = DiskPlan("vdb", "/dev/vg0/srv", "raw", True, 20 * GIB, "xenvg", "web-srv", 20 * GIB)
SWAP = DiskPlan("vdc", "/srv/swap.img", "raw", False, GIB, "xenvg", "web-swap", GIB, "", "")
PLAN = ImportPlan(
    host="kvm1.example.org",
    domain="web",
    uuid=UUID,
    instance="web.example.org",
    node="node1.example.org",
    os="debootstrap+default",
    vcpus=2,
    memory=2 << 30,
    disks=(VDA, VDB, SWAP),
    nics=(),
)
VERSIONS = """\
Using library: libvirt 9.0.0
Running hypervisor: QEMU 7.2.22
Running against daemon: 9.0.0
"""
XML = """\
<domain type='kvm' id='1'>
  <on_poweroff>destroy</on_poweroff>
  <devices>
    <disk type='file'><source file='/srv/web root.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='block'><source dev='/dev/vg0/srv'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='file'><source file='/srv/swap.img'/><target dev='vdc' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
    </channel>
  </devices>
</domain>
"""
JOB = f"""\
<domainbackup mode='pull'>
  <server transport='unix' socket='{SOCKET}'/>
  <disks>
    <disk name='vda' backup='yes' backupmode='incremental' incremental='{POINT}'
      exportname='vda' exportbitmap='backup-vda'/>
    <disk name='vdb' backup='yes' backupmode='full' exportname='vdb'/>
    <disk name='vdc' backup='no'/>
  </disks>
</domainbackup>
"""


def image(size: int, *bitmaps: str, in_use: bool = False, raw: bool = False) -> str:
    """The output of `qemu-img info` of an image."""
    flags = ["in-use", "auto"] if in_use else ["auto"]
    data = {"compat": "1.1", "bitmaps": [{"name": each, "flags": flags} for each in bitmaps]}
    found: dict[str, Any] = {"virtual-size": size, "actual-size": 1}
    if not raw:
        found["format-specific"] = {"type": "qcow2", "data": data}
    return json.dumps(found)


def sizes(point: str, size: str) -> str:
    """The output of `virsh checkpoint-dumpxml --size`."""
    return (
        f"<domaincheckpoint><name>{point}</name><disks>"
        f"<disk name='vda' checkpoint='bitmap' bitmap='{point}' {size}/>"
        "<disk name='vdb' checkpoint='no'/></disks></domaincheckpoint>"
    )


def told(**changed: str) -> list[str]:
    """The parts of the answer to a look at the domain, which is running."""
    parts = {
        "state": "running (booted)",
        "versions": VERSIONS,
        "xml": XML,
        "checkpoints": "",
        "snapshots": "",
        "job": "Job type: None",
        "backup": "",
        "sizes": "",
        "dominfo": "Persistent:     yes",
    }
    parts |= {name: text for name, text in changed.items() if name in parts}
    images = [changed.get("vda", image(10 * GIB)), image(20 * GIB, raw=True)]
    return [
        *(f" {name}\n{text}\n" for name, text in parts.items()),
        *(f" image\n{text}\n" for text in images),
    ]


def seen(checkpoint: str = "", **changed: str) -> SourceFacts:
    """The facts of such an answer."""
    return facts.parse(PLAN, [VDA, VDB], told(**changed), checkpoint, {})


def other_path(path: str) -> ImportPlan:
    """The plan, with another path of the first disk."""
    return replace(PLAN, disks=(replace(VDA, path=path), VDB, SWAP))
