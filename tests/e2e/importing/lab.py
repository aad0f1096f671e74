"""The lab of the importer: a Ganeti node with the kit, and a KVM host beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tests.e2e.cluster import Cluster
from tests.e2e.host import Host, enter
from tests.e2e.qemu import OVMF_CODE
from tests.e2e.sandbox import SCRIPT
from tests.e2e.sandbox import missing_capability as missing_of_node

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

    def loops(self) -> list[str]:
        """As of any node, but for those of LVM."""
        return [found for found in super().loops() if VOLUMES not in found]


class KvmHost(Host):
    """The KVM host beside a running node."""

    name = "kvm1.example.org"

    def __init__(self, node: KvmNode) -> None:
        self._node = node
        self._pid = int(node.run(["cat", "/run/kvm-host.pid"]).stdout)

    def entry(self, namespaces: Sequence[str]) -> list[str]:
        return [*self._node.entry(namespaces), *enter(self._pid, namespaces)]


class Lab:
    """Both hosts; they run until the node is stopped."""

    def __init__(self, node: KvmNode) -> None:
        self.node = node
        self.kvm = KvmHost(node)

    def virsh(self, *words: str) -> str:
        """Runs virsh on the KVM host; returns what it printed, stripped."""
        return self.kvm.run(["virsh", "--quiet", *words]).stdout.strip()

    def define(self, xml: str) -> None:
        """Defines a domain."""
        self.kvm.run(["virsh", "--quiet", "define", "/dev/stdin"], input=xml)
