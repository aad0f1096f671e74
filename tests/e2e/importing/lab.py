"""The lab of the importer: a Ganeti node with the kit, and a KVM host beside it."""

from pathlib import Path
from typing import ClassVar

from tests.e2e.cluster import Cluster
from tests.e2e.qemu import OVMF_CODE
from tests.e2e.sandbox import SCRIPT
from tests.e2e.sandbox import missing_capability as missing_of_node

from . import install
from .domains import GROUP, Disk, Machine
from .guest import Guest
from .kvm_host import KvmHost

KVM_SCRIPT = Path(__file__).parents[1] / "libvirt-sandbox"
# Of the physical volumes, on the disk image of the node.
VOLUMES = "/media/volumes/"
# Programs of the KVM host, and their packages; libvirt's drivers are named by their path.
PROGRAMS = {
    "virsh": "libvirt-clients",
    "libvirtd": "libvirt-daemon",
    "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so": (
        "libvirt-daemon-driver-qemu"
    ),
    "sshd": "openssh-server",
    "lvm": "lvm2",
    "qemu-img": "qemu-utils",
    OVMF_CODE: "ovmf",
}


def missing_capability() -> str | None:
    """The reason why the lab cannot be started on this machine, or None."""
    return missing_of_node(PROGRAMS)


class KvmNode(Cluster):
    """The node of a cluster with the disk template plain, beside a KVM host."""

    scripts: ClassVar[tuple[Path, ...]] = (SCRIPT, KVM_SCRIPT)

    def logs(self) -> dict[str, str]:
        """Those of Ganeti; of the KVM host, those of libvirtd and QEMU, and serial consoles."""
        host = self.run(["cat", "/run/kvm-host.pid"]).stdout.strip()
        return {**super().logs(), "libvirt": f"/proc/{host}/root/var/log/libvirt"}

    def loops(self) -> list[str]:
        """As of any node, but for those of LVM."""
        return [found for found in super().loops() if VOLUMES not in found]


class Lab:
    """Both hosts; they run until the node is stopped."""

    def __init__(self, node: KvmNode) -> None:
        self.node = node
        self.kvm = KvmHost(node)
        self._guests: dict[str, Guest] = {}

    def define(self, xml: str) -> None:
        """Defines a domain on the KVM host."""
        self.kvm.virsh("define", "/dev/stdin", input=xml)

    def guest(self, machine: Machine) -> Guest:
        """A machine, defined; the first call installs it."""
        if machine.name not in self._guests:
            made = install.install(self.node, machine)
            for disk in machine.disks:
                self._place(made.disks[disk.role], machine, disk)
            self.node.run(["rm", *made.disks.values()])
            self._guests[machine.name] = Guest(self.node, self.kvm, machine, made)
        return self._guests[machine.name]

    def _place(self, path: str, machine: Machine, disk: Disk) -> None:
        target = machine.path(disk)
        options = ["-O", "raw"]
        if machine.storage == "qcow2":
            options = ["-O", "qcow2", "-o", "compat=1.1"]
        elif machine.storage == "lv":
            name = target.rpartition("/")[2]
            self.kvm.run(["lvcreate", f"--size={disk.size}M", f"--name={name}", GROUP])
            options += ["-n"]
        self.kvm.convert(path, options, target)
