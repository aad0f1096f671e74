"""The plan of an import: what the user reviews, and all later steps read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class DiskPlan:
    """A disk of the instance; the order is that of the instance's disks.

    Attributes:
        target: the source disk's name in the domain, such as vda.
        path, format, is_block: of the source, see `importer.domains.domain.SourceDisk`.
        size: of the source disk, bytes.
        vg, lv: the logical volume that is made for it.
        volume_size: of the volume, bytes: a multiple of the volume group's extents.
        swap_uuid, swap_label: if the whole disk is a swap area, which is made anew; else None.
    """

    target: str
    path: str
    format: Literal["qcow2", "raw"]
    is_block: bool
    size: int
    vg: str
    lv: str
    volume_size: int
    swap_uuid: str | None = None
    swap_label: str | None = None

    @property
    def is_copied(self) -> bool:
        """Whether its bytes are copied: swap is made anew."""
        return self.swap_uuid is None


@dataclass(frozen=True)
class NicPlan:
    """A NIC of the instance, in the order of the domain's.

    Attributes:
        old_mac: of the domain's NIC.
        mac: of the instance's NIC, or `generate`.
        network: Ganeti's network, or None.
        link: the bridge, if there is no network; None for the cluster's default.
        ip: an address, `pool`, or None.
    """

    old_mac: str
    mac: str
    network: str | None = None
    link: str | None = None
    ip: str | None = None


@dataclass(frozen=True)
class Variables:
    """The UEFI variables, among them the boot entries.

    Attributes:
        source: path of their file on the KVM host, raw.
        file: path on the node; Ganeti's `kvm_extra` names it.
    """

    source: str
    file: str


@dataclass(frozen=True)
class ImportPlan:
    """What an import will make.

    Attributes:
        host: the KVM host, as SSH is given it: [user@]host.
        domain, uuid: libvirt's name and UUID of the machine.
        instance: the full name of the instance.
        node: the Ganeti node that takes it: this one.
        os: the OS definition and its variant, such as debootstrap+default.
        memory: bytes.
        hypervisor: Ganeti's parameters of the hypervisor kvm.
        variables: of a UEFI machine that keeps them.
        ignore_ipolicy: whether Ganeti's instance policy is ignored.
    """

    host: str
    domain: str
    uuid: str
    instance: str
    node: str
    os: str
    vcpus: int
    memory: int
    disks: tuple[DiskPlan, ...]
    nics: tuple[NicPlan, ...] = ()
    hypervisor: Mapping[str, str] = field(default_factory=dict)
    variables: Variables | None = None
    ignore_ipolicy: bool = False
