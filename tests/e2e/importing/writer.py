"""A guest of one sector: it is there at once, writes all the time, and shuts down when asked.

Its first disk and its second one get a sector in each cluster in turn, so each write makes 64 KiB
of a qcow2 image dirty. It stays within 16 MiB of each, so that passes with a limited rate end.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from importer.plan.file import render
from importer.plan.model import DiskPlan, ImportPlan, NicPlan
from importer.plan.rules import Draft

from .domains import IMAGES
from .kvm_host import KvmHost
from .lab import Lab

NAME = "writer"
INSTANCE = "writer.example.org"
UUID = "6b766d31-0000-4000-8000-000000000099"
SWAP_UUID = "3e2f1a9c-8d4b-4c1e-9d7a-0f1e2d3c4b5a"
MIB = 1 << 20
IMPORTS = "/var/lib/ganeti-instance-kit/imports"
# For i386 in real mode, at 0x7c00. PM1 is the ACPI power management of QEMU's pc at port 0x600.
#         xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7c00
#         mov dx, 0x602; mov ax, 0x100; out dx, ax      ; PM1 enable: power button
# again:  mov dx, 0x600; in ax, dx; test ah, 1; jnz off ; PM1 status: it was pressed
#         mov dl, [drive]; mov si, packet; mov ax, 0x4300; int 0x13   ; write
#         xor byte [drive], 1; test byte [drive], 1; jnz again        ; to both disks
#         inc dword [0x8000]                            ; the data
#         mov eax, [stride]; add [lba], eax; mov eax, [lba]; cmp eax, [limit]; jb pause
#         mov eax, [base]; mov [lba], eax
# pause:  sti; hlt; jmp again                           ; until the timer's next tick: 18 a second
# off:    mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt; jmp off     ; PM1 control: soft off
# packet: db 16, 0; dw 1, 0x8000, 0
# lba:    dd 0x1000, 0
# stride: dd 128
# base:   dd 0x1000
# limit:  dd 0x9000
# drive:  db 0x80
CODE = (
    "31c08ed88ec08ed0bc007cba0206b80001efba0006edf6c401753d8a167e7cbe627cb80043cd1380"
    "367e7c01f6067e7c0175df66ff06008066a1727c6601066a7c66a16a7c663b067a7c720866a1767c"
    "66a36a7cfbf4ebbaba0406b80020eff4ebf610000100008000000010000000000000800000000010"
    "00000090000080"
)
SECTOR = bytes.fromhex(CODE).ljust(510, b"\0") + b"\x55\xaa"
# It does not look at the power button: `jnz off` does nothing.
DEAF = SECTOR.replace(bytes.fromhex("f6c401753d"), bytes.fromhex("f6c4019090"), 1)


@dataclass(frozen=True)
class Image:
    """A disk of the guest: the domain's name of it, what it is, its format and size in MiB."""

    target: str
    role: str
    format: str
    size: int

    @property
    def path(self) -> str:
        return f"{IMAGES}/{NAME}-{self.role}.{self.format}"

    @property
    def volume(self) -> str:
        """On the node."""
        return f"/dev/xenvg/{NAME}-{self.role}"


ROOT, DATA = Image("vda", "root", "qcow2", 512), Image("vdb", "data", "qcow2", 512)
RAW, SWAP = Image("vdc", "raw", "raw", 128), Image("vdd", "swap", "raw", 64)
DISKS = (ROOT, DATA, RAW, SWAP)
COPIED = (ROOT, DATA, RAW)


def plan() -> str:
    """The plan of its import."""
    disks = tuple(
        DiskPlan(
            target=disk.target,
            path=disk.path,
            format="raw" if disk.format == "raw" else "qcow2",
            is_block=False,
            size=disk.size * MIB,
            vg="xenvg",
            lv=f"{NAME}-{disk.role}",
            volume_size=disk.size * MIB,
            swap_uuid=SWAP_UUID if disk is SWAP else None,
            swap_label="swap" if disk is SWAP else None,
        )
        for disk in DISKS
    )
    made = ImportPlan(
        host=KvmHost.name,
        domain=NAME,
        uuid=UUID,
        instance=INSTANCE,
        node="node1.example.org",
        os="debootstrap+bookworm",
        vcpus=1,
        memory=64 * MIB,
        disks=disks,
        nics=(NicPlan("52:54:00:6b:76:99", "generate", "gnt-fsn"),),
        ignore_ipolicy=True,
    )
    return render(Draft(made))


def domain_xml() -> str:
    """The domain."""
    disks = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='{disk.format}'/>"
        f"<source file='{disk.path}'/><target dev='{disk.target}' bus='virtio'/>"
        + ("" if order is None else f"<boot order='{order}'/>")
        + "</disk>"
        for disk, order in zip(DISKS, (1, 2, None, None), strict=True)
    )
    return f"""\
<domain type='qemu'>
  <name>{NAME}</name>
  <uuid>{UUID}</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {disks}
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
    <memballoon model='none'/>
  </devices>
</domain>
"""


class Writer:
    """The guest on the KVM host, and its import on the node."""

    def __init__(self, lab: Lab) -> None:
        self.node, self.kvm = lab.node, lab.kvm
        self.plan = f"/root/{NAME}.toml"

    def make(self, *, deaf: bool = False) -> None:
        """Makes its disks anew, and starts it; its import begins anew.

        Args:
            deaf: whether it ignores its power button.
        """
        self.clear()
        sector = _octal(DEAF if deaf else SECTOR)
        self.kvm.run(["sh", "-c", f"printf '{sector}' > /tmp/writer.sector"])
        for disk in DISKS:
            self.kvm.run(
                ["qemu-img", "create", "-q", "-f", disk.format, disk.path, f"{disk.size}M"]
            )
        for number, disk in enumerate(COPIED, 0x11):
            # It writes from 2 MiB to 18 MiB: over data, and into a hole.
            fill = ["-c", f"write -P {number} 1M 9M", "-c", f"write -P {number} 20M 15M"]
            self.kvm.run(["qemu-io", "-f", disk.format, *fill, disk.path])
        boot = "write -s /tmp/writer.sector 0 512"
        self.kvm.run(["qemu-io", "-f", "qcow2", "-c", boot, ROOT.path])
        self.kvm.run(["rm", "/tmp/writer.sector"])
        self.kvm.virsh("define", "/dev/stdin", input=domain_xml())
        self.kvm.virsh("start", NAME)
        self.node.write(self.plan, plan())

    def clear(self) -> None:
        """Removes it and its import."""
        self.kvm.virsh("destroy", NAME, check=False)
        for point in self.checkpoints():
            self.kvm.virsh("checkpoint-delete", NAME, point, "--metadata")
        self.kvm.virsh("undefine", NAME, check=False)
        self.kvm.run(["rm", "-f", *(disk.path for disk in DISKS)])
        for disk in DISKS:
            volume = f"xenvg/{NAME}-{disk.role}"
            self.node.run(["lvremove", "--yes", volume], check=False)
        self.node.run(["rm", "-rf", f"{IMPORTS}/{INSTANCE}", self.plan])
        self.node.run(["rmdir", IMPORTS], check=False)  # if there is no other

    @property
    def state(self) -> str:
        """In libvirt's words, with the reason."""
        return self.kvm.virsh("domstate", "--reason", NAME)

    def checkpoints(self) -> list[str]:
        return self.kvm.virsh("checkpoint-list", "--name", NAME, check=False).split()

    def has_job(self) -> bool:
        return "Unbounded" in self.kvm.virsh("domjobinfo", NAME, check=False)

    def until(self, state: str, seconds: float = 180.0) -> None:
        """Waits until it is in a state."""
        deadline = time.monotonic() + seconds
        while not self.state.startswith(state):
            assert time.monotonic() < deadline, f"{self.state}, not {state}"
            time.sleep(0.1)

    def writes_on(self) -> bool:
        """Whether it runs, and its disk changes."""
        before = self.kvm.virsh("domblkstat", NAME, "vda")
        time.sleep(1.0)
        return self.kvm.virsh("domblkstat", NAME, "vda") != before

    def differing(self) -> list[str]:
        """The disks of which a volume is another than the image; it must not run."""
        found = []
        for disk in COPIED:
            image = f"exec qemu-img convert -U -f {disk.format} -O raw {disk.path} /tmp/writer.raw"
            self.kvm.run(["sh", "-c", image])
            digest = self.kvm.run(["sha256sum", "/tmp/writer.raw"]).stdout.split()[0]
            self.kvm.run(["rm", "/tmp/writer.raw"])
            if self.node.run(["sha256sum", disk.volume]).stdout.split()[0] != digest:
                found.append(disk.role)
        return found


def _octal(data: bytes) -> str:
    return "".join(f"\\{byte:03o}" for byte in data)


@contextmanager
def there(lab: Lab) -> Iterator[Writer]:
    """The guest, for tests that make it; all of it is gone after the block."""
    writer = Writer(lab)
    try:
        yield writer
    finally:
        writer.clear()
