"""The domains of the lab, as a KVM host's administrator would describe them. Pure."""

from dataclasses import dataclass
from typing import Literal

from tests.e2e.qemu import OVMF_CODE, OVMF_VARS

IMAGES = "/var/lib/libvirt/images"
LOGS = "/var/log/libvirt/qemu"
GROUP = "kvmvg"
MEMORY = 512  # MiB; also of the instances that come of them


@dataclass(frozen=True)
class Disk:
    """A disk: what it is in the guest (root, swap, srv), the domain's name of it, its size in MiB.

    `boot_order` is that of the XML, if any.
    """

    role: Literal["root", "swap", "srv"]
    target: str
    size: int
    boot_order: int | None = None


@dataclass(frozen=True)
class Machine:
    """A domain with a Debian.

    Attributes:
        number: the last part of its addresses and of its UUID.
        disks: in the order of the XML.
        storage: qcow2 files, raw files or logical volumes.
        nic: the name that its kernel gives to its NIC.
    """

    name: str
    number: int
    disks: tuple[Disk, ...]
    storage: Literal["qcow2", "raw", "lv"]
    nic: str
    uefi: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.name}.example.org"

    @property
    def uuid(self) -> str:
        return f"6b766d31-0000-4000-8000-{self.number:012}"

    @property
    def mac(self) -> str:
        return f"52:54:00:6b:76:{self.number:02}"

    @property
    def ipv4(self) -> str:
        return f"203.0.113.{self.number}"

    @property
    def ipv6(self) -> str:
        return f"2001:db8:0:ee::{self.number}"

    @property
    def serial_log(self) -> str:
        """The file on the KVM host with all that it prints to its serial console."""
        return f"{LOGS}/{self.name}-serial.log"

    def path(self, disk: Disk) -> str:
        """The image or volume of a disk, on the KVM host."""
        if self.storage == "lv":
            return f"/dev/{GROUP}/{self.name}-{disk.role}"
        return f"{IMAGES}/{self.name}-{disk.role}.{self.storage}"


# The domain's first disk is not the one that it boots from.
WEB1 = Machine(
    "web1",
    11,
    (Disk("srv", "vda", 512), Disk("root", "vdb", 2048, boot_order=1), Disk("swap", "vdc", 256)),
    "qcow2",
    "ens3",
)
DB1 = Machine(
    "db1", 12, (Disk("root", "vda", 2048), Disk("swap", "vdb", 256)), "lv", "enp1s0", uefi=True
)
OLD1 = Machine("old1", 13, (Disk("root", "vda", 2048),), "raw", "ens3")


def domain_xml(machine: Machine) -> str:
    """The domain of a machine; its type is qemu, without KVM."""
    loader = nvram = ""
    chipset, place = "pc", "bus='0x00' slot='0x03'"
    if machine.uefi:
        chipset, place = "q35", "bus='0x01' slot='0x00'"
        loader = f"<loader readonly='yes' type='pflash'>{OVMF_CODE}</loader>"
        nvram = f"<nvram template='{OVMF_VARS}'/>"
    # With a boot order of a device, libvirt refuses one of kinds of devices.
    boot = "" if any(disk.boot_order for disk in machine.disks) else "<boot dev='hd'/>"
    return f"""\
<domain type='qemu'>
  <name>{machine.name}</name>
  <uuid>{machine.uuid}</uuid>
  <memory unit='MiB'>{MEMORY}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{chipset}'>hvm</type>
    {loader}{nvram}{boot}
  </os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {"".join(_disk_xml(machine, disk) for disk in machine.disks)}
    <interface type='bridge'>
      <mac address='{machine.mac}'/>
      <source bridge='br0'/>
      <model type='virtio'/>
      <address type='pci' domain='0x0000' {place} function='0x0'/>
    </interface>
    <serial type='pty'><log file='{machine.serial_log}' append='off'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"""


def _disk_xml(machine: Machine, disk: Disk) -> str:
    kind, attribute = ("block", "dev") if machine.storage == "lv" else ("file", "file")
    image = "qcow2" if machine.storage == "qcow2" else "raw"
    order = f"<boot order='{disk.boot_order}'/>" if disk.boot_order else ""
    return f"""
    <disk type='{kind}' device='disk'>
      <driver name='qemu' type='{image}' discard='unmap'/>
      <source {attribute}='{machine.path(disk)}'/>
      <target dev='{disk.target}' bus='virtio'/>
      {order}
    </disk>"""
