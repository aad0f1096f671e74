"""Ganeti's hypervisor parameters for a domain of libvirt (Ganeti 3.0, hv_kvm). Pure.

Ganeti has one disk type and one NIC type for all disks and NICs of an instance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from importer.domains.domain import Domain
from importer.plan.model import Variables

# libvirt's buses and models, and Ganeti's words for the same hardware.
DISK_TYPES = {"virtio": "paravirtual", "ide": "ide", "scsi": "scsi-hd"}
SCSI_CONTROLLERS = {
    "virtio-scsi": "virtio-scsi-pci",
    "lsilogic": "lsi",
    "lsisas1078": "megasas",
}
SAME_NICS = ("e1000", "i82551", "i82557b", "ne2k_pci", "pcnet", "rtl8139")
NIC_TYPES = {"virtio": "paravirtual", **{model: model for model in SAME_NICS}}
# What Ganeti 3.0 takes (constants.py, HT_KVM_VALID_*): it checks them when an instance is added.
VALUES = {
    "disk_type": frozenset(
        {
            *("paravirtual", "ide", "scsi", "scsi-hd", "scsi-cd", "scsi-block", "scsi-generic"),
            *("sd", "mtd", "pflash"),
        }
    ),
    "nic_type": frozenset({*NIC_TYPES.values(), "i82559er", "ne2k_isa"}),
    "scsi_controller_type": frozenset(SCSI_CONTROLLERS.values()),
    "boot_order": frozenset({"disk", "cdrom", "floppy", "network"}),
}
# The nearest hardware, where Ganeti does not have the same.
NEAR_DISK_TYPES = {"sata": "ide"}
NEAR_NIC_TYPES = {"e1000e": "e1000", "igb": "e1000"}
IDE_DISKS = 4  # of QEMU's two channels
# Debian's package ovmf: the firmware for a file of variables of so many bytes.
FIRMWARE = {
    540672: PurePosixPath("/usr/share/OVMF/OVMF_CODE_4M.fd"),
    131072: PurePosixPath("/usr/share/OVMF/OVMF_CODE.fd"),
}
FIRMWARE_WITHOUT_VARIABLES = PurePosixPath("/usr/share/ovmf/OVMF.fd")
_VARIABLES = PurePosixPath("/var/lib/ganeti-instance-kit/nvram")


@dataclass(frozen=True)
class Qemu:
    """What the node's QEMU offers.

    Attributes:
        machines: machine types, such as pc-i440fx-7.2.
        cpus: CPU models.
        cluster: the cluster's parameters of the hypervisor kvm.
    """

    machines: frozenset[str]
    cpus: frozenset[str]
    cluster: Mapping[str, str]

    @property
    def accelerated(self) -> bool:
        """Whether instances use KVM."""
        return self.cluster.get("kvm_flag") == "enabled"


@dataclass(frozen=True)
class Hardware:
    """The parameters that differ from the cluster's, and why; `notes` are by parameter.

    `notes[""]` are about none of them.
    """

    parameters: Mapping[str, str]
    notes: Mapping[str, tuple[str, ...]]


class _Draft:
    def __init__(self, cluster: Mapping[str, str]) -> None:
        self.cluster = cluster
        self.parameters: dict[str, str] = {}
        self.notes: dict[str, tuple[str, ...]] = {}

    def set(self, parameter: str, value: str, *notes: str) -> None:
        """Sets it even if the cluster has this value today: the guest depends on it."""
        self.parameters[parameter] = value
        self.note(parameter, *notes)

    def note(self, parameter: str, *notes: str) -> None:
        if notes:
            self.notes[parameter] = (*self.notes.get(parameter, ()), *notes)


def variables_file(instance: str) -> str:
    """The path of an instance's UEFI variables on its nodes."""
    return str(_VARIABLES / f"{instance}.fd")


def hardware(domain: Domain, qemu: Qemu, variables: Variables | None, size: int) -> Hardware:
    """The parameters for a domain whose root disk is the first one.

    Args:
        domain: the domain.
        qemu: of the node.
        variables: the UEFI variables, if they are kept.
        size: of their file, bytes.
    """
    draft = _Draft(qemu.cluster)
    _disks(domain, draft)
    _nics(domain, draft)
    _machine(domain, qemu, draft)
    _cpu(domain, qemu, draft)
    _boot(domain, draft, variables, size)
    draft.set("serial_console", "True")
    if not domain.has_console:
        draft.note(
            "serial_console",
            "the domain has no serial console: gnt-instance console shows nothing before the guest"
            " uses ttyS0",
        )
    if domain.has_agent:
        draft.set("use_guest_agent", "True")
    if domain.has_local_time:
        draft.set("use_localtime", "True")
    return Hardware(draft.parameters, draft.notes)


def _disks(domain: Domain, draft: _Draft) -> None:
    if not domain.disks:  # all of them are obstacles
        return
    bus = domain.disks[0].bus
    notes = []
    kind = DISK_TYPES.get(bus)
    if kind is None:
        kind = NEAR_DISK_TYPES.get(bus, "paravirtual")
        notes.append(f"Ganeti has no disks on {bus}; {kind} is the nearest")
        if kind == "ide":
            notes.append("paravirtual is much faster, if the guest has virtio drivers")
    others = sorted({disk.bus for disk in domain.disks[1:]} - {bus})
    if others:
        notes.append(
            f"Ganeti has one type for all disks; those on {', '.join(others)} get other names"
        )
    draft.set("disk_type", kind, *notes)
    if kind == "scsi-hd":
        model = domain.scsi_controller
        near = f"Ganeti has no controller {model}"
        if not model:
            near = "the domain names no controller: libvirt may have taken lsilogic, which is lsi"
        draft.set(
            "scsi_controller_type",
            SCSI_CONTROLLERS.get(model, "virtio-scsi-pci"),
            *([] if model in SCSI_CONTROLLERS else [near]),
        )


def _nics(domain: Domain, draft: _Draft) -> None:
    if not domain.nics:
        return
    model = domain.nics[0].model
    notes = []
    kind = NIC_TYPES.get(model)
    if kind is None:
        kind = NEAR_NIC_TYPES.get(model, "paravirtual")
        notes.append(f"Ganeti has no NICs of the model {model}; {kind} is the nearest")
    others = sorted({nic.model for nic in domain.nics[1:]} - {model})
    if others:
        notes.append(f"Ganeti has one type for all NICs; the domain has {', '.join(others)}, too")
    draft.set("nic_type", kind, *notes)


def _machine(domain: Domain, qemu: Qemu, draft: _Draft) -> None:
    """Ganeti puts devices on the bus pci.0 (hv_kvm, _PCI_BUS), which only i440FX has."""
    machine = domain.machine
    default = qemu.cluster.get("machine_version") or "QEMU's default"
    if not machine.startswith("pc-i440fx-"):
        note = f"machine_version stays at {default}: Ganeti cannot use the domain's {machine}"
        if "q35" in default:
            draft.set("machine_version", "pc", note)
        else:
            draft.note("", note)
    elif machine in qemu.machines:
        draft.set("machine_version", machine)
    else:
        draft.note(
            "",
            f"machine_version stays at {default}: the node's QEMU has no {machine}",
        )


def _cpu(domain: Domain, qemu: Qemu, draft: _Draft) -> None:
    cpu = domain.cpu
    default = qemu.cluster.get("cpu_type") or "QEMU's default"
    if cpu in ("host-passthrough", "host-model", "maximum"):
        draft.set(
            "cpu_type",
            "host" if qemu.accelerated else "max",
            f"the domain has {cpu}; live migration needs nodes with the same CPU",
        )
    elif cpu in qemu.cpus:
        draft.set("cpu_type", cpu)
    elif cpu:
        draft.note("", f"cpu_type stays at {default}: the node's QEMU has no {cpu}")
    if domain.cpu_features:
        draft.note(
            "cpu_type" if "cpu_type" in draft.parameters else "",
            f"the domain adds to its CPU, or takes from it: {','.join(domain.cpu_features)};"
            " cpu_type takes such words after a comma",
        )


def _boot(domain: Domain, draft: _Draft, variables: Variables | None, size: int) -> None:
    draft.set("boot_order", "disk")
    draft.set("kernel_path", "")  # else Ganeti boots that kernel of the node
    if domain.firmware == "bios":
        return
    extra = [word for word in draft.cluster.get("kvm_extra", "").split(" ") if word]
    if domain.has_secure_boot:
        draft.note(
            "kvm_extra",
            "the domain's firmware checks signatures (Secure Boot), which the instance's does not",
        )
    if variables is None or size not in FIRMWARE:
        lost = f"{size} bytes, for other firmware" if size else "there is no such file"
        draft.set(
            "kvm_extra",
            " ".join([*extra, "-bios", str(FIRMWARE_WITHOUT_VARIABLES)]),
            "UEFI without variables: the firmware boots \\EFI\\BOOT\\BOOTX64.EFI of disk 0 only",
            *([f"variables on the KVM host, {domain.nvram}: {lost}"] if domain.nvram else []),
        )
        return
    drive = "if=pflash,format=raw,unit="
    words = [
        *("-drive", f"{drive}0,readonly=on,file={FIRMWARE[size]}"),
        *("-drive", f"{drive}1,file={variables.file}"),
    ]
    draft.set(
        "kvm_extra",
        " ".join([*extra, *words]),
        "UEFI: every node that is to run the instance needs the package ovmf and the file of"
        " variables",
    )
