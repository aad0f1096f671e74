"""A libvirt domain, as its XML describes it. Pure."""

import shlex
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Obstacle:
    """What cannot be moved, such as a passed-through device, and what the user can do."""

    what: str
    remedy: str

    def for_domain(self, name: str) -> "Obstacle":
        """The same, with the name of the domain where the remedy has DOMAIN."""
        return replace(self, remedy=self.remedy.replace("DOMAIN", shlex.quote(name)))


@dataclass(frozen=True)
class SourceDisk:
    """A disk of a domain.

    Attributes:
        target: its name in the domain, such as vda.
        bus: virtio, scsi, sata, ide, …
        format: of its image, as the XML states it; never guessed.
        path: on the KVM host, absolute.
        is_block: whether that is a block device, such as a logical volume.
        boot_order: of its `<boot order=.../>`, if any.
        has_backing: whether the XML names an image that this one is based on.
    """

    target: str
    bus: str
    format: Literal["qcow2", "raw"]
    path: str
    is_block: bool
    boot_order: int | None = None
    has_backing: bool = False


@dataclass(frozen=True)
class SourceNic:
    """A network card: its MAC address (lower case), model, and libvirt's network or bridge."""

    mac: str
    model: str
    source: str


@dataclass(frozen=True)
class Domain:
    """A domain; `disks` are in boot order: that of the XML's boot orders, then of bus and name.

    Attributes:
        memory: bytes.
        firmware: bios or uefi.
        nvram: path of the UEFI variables on the KVM host, raw; "" without such a file. libvirt
            makes it at the first start.
        has_secure_boot: whether its firmware is one with Secure Boot.
        cpu_features: added to `cpu` or taken from it, as libvirt names them: +vmx, -hle.
        losses: what an instance of it will not have by itself.
        scsi_controller: model of the SCSI controller, such as virtio-scsi; "" if it has none.
        machine: QEMU's machine type, such as pc-i440fx-7.2.
        cpu: mode of the XML (host-passthrough, host-model) or the name of a model; "" for QEMU's
            default.
        has_console: whether it has a serial console.
        has_agent: whether it has a channel for the QEMU guest agent.
        has_local_time: whether its clock begins with the host's local time, not with UTC.
    """

    name: str
    uuid: str
    vcpus: int
    memory: int
    firmware: Literal["bios", "uefi"]
    machine: str
    cpu: str
    disks: tuple[SourceDisk, ...]
    nics: tuple[SourceNic, ...]
    has_console: bool
    has_agent: bool
    obstacles: tuple[Obstacle, ...] = ()
    nvram: str = ""
    scsi_controller: str = ""
    has_local_time: bool = False
    has_secure_boot: bool = False
    cpu_features: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
