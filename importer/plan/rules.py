"""What the plan of an import is by default: volumes, NICs and hardware. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from math import lcm
from pathlib import PurePosixPath

from importer.domains.domain import SourceDisk, SourceNic
from importer.domains.inventory import Area, DiskFacts, Inventory
from importer.plan import names
from importer.plan.hypervisor import FIRMWARE, Qemu, hardware, variables_file
from importer.plan.model import DiskPlan, ImportPlan, NicPlan, Variables

MIB = 1 << 20
_SUFFIXES = (".qcow2", ".img", ".raw", ".disk")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]{0,30}")


@dataclass(frozen=True)
class VolumeGroup:
    """A volume group of the node: its extent size and free space, bytes."""

    name: str
    extent: int
    free: int


@dataclass(frozen=True)
class GroupRules:
    """Which volume group a disk gets: the first rule that fits.

    Attributes:
        default: for all other disks.
        by_name: pattern (fnmatch) of the volume's name, the image's file name or the disk's name
            in the domain; and the group.
        larger: bytes, and the group of disks that are larger. Of several the largest counts.
    """

    default: str
    by_name: tuple[tuple[str, str], ...] = ()
    larger: tuple[tuple[int, str], ...] = ()

    def group(self, disk: SourceDisk, lv: str, size: int) -> str:
        """The volume group of a disk of `size` bytes."""
        names = (lv, PurePosixPath(disk.path).name, disk.target)
        for pattern, vg in self.by_name:
            if any(fnmatchcase(name, pattern) for name in names):
                return vg
        for limit, vg in sorted(self.larger, reverse=True):
            if size > limit:
                return vg
        return self.default


@dataclass(frozen=True)
class Network:
    """What the user says of the NICs.

    Attributes:
        networks: of Ganeti, one a NIC; "" for none, and further NICs have none.
        links: bridges, likewise, for NICs without a network.
        addresses: likewise; `pool` is the default in a network.
        keep_macs: whether NICs keep their MAC addresses.
    """

    networks: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    keep_macs: bool = False


@dataclass(frozen=True)
class Target:
    """Where the machine goes: the names are complete."""

    instance: str
    node: str
    os: str


@dataclass(frozen=True)
class Draft:
    """A plan, and what its reader should know.

    `notes` are by place: `instance`, `disks[0]`, `nics[0]`, `hypervisor.cpu_type`, `hypervisor`.
    """

    plan: ImportPlan
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def draft(
    inventory: Inventory,
    host: str,
    target: Target,
    groups: Mapping[str, VolumeGroup],
    rules: GroupRules,
    network: Network,
    qemu: Qemu,
    variables_size: int = 0,
) -> Draft:
    """The plan of an import.

    Args:
        inventory: of the domain.
        host: as SSH is given it.
        target: where it goes.
        groups: the node's volume groups, by name.
        rules: which of them the disks get.
        network: what the user says of the NICs.
        qemu: of the node.
        variables_size: bytes of the file of UEFI variables, 0 without one.

    Raises:
        KeyError: a rule names a volume group that is not in `groups`.
    """
    domain = inventory.domain
    variables = None
    if domain.nvram and variables_size in FIRMWARE:
        variables = Variables(domain.nvram, variables_file(target.instance))
    # Ganeti's disk type follows from the root disk, which the domain need not have first.
    in_order = replace(domain, disks=tuple(fact.disk for fact in inventory.disks))
    hard = hardware(in_order, qemu, variables, variables_size)
    notes = {
        f"hypervisor.{name}" if name else "hypervisor": all_ for name, all_ in hard.notes.items()
    }
    if domain.losses:
        notes["instance"] = tuple(f"not moved: {loss}" for loss in domain.losses)
    plan = ImportPlan(
        host=host,
        domain=domain.name,
        uuid=domain.uuid,
        instance=target.instance,
        node=target.node,
        os=target.os,
        vcpus=domain.vcpus,
        memory=-(-domain.memory // MIB) * MIB,
        disks=disks(
            inventory.disks, (domain.name, target.instance), target.instance, groups, rules
        ),
        nics=tuple(_nic(number, nic, network) for number, nic in enumerate(domain.nics)),
        hypervisor=hard.parameters,
        variables=variables,
    )
    for number, disk in enumerate(plan.disks):
        if disk.volume_size != disk.size and disk.is_copied:
            added = disk.volume_size - disk.size
            notes[f"disks[{number}]"] = (f"{added} bytes more than the source: whole extents",)
    if network.keep_macs:
        for number in range(len(plan.nics)):
            notes[f"nics[{number}]"] = (
                "the MAC address is kept: start the instance only while the source is off, and"
                " never both in one network",
            )
    return Draft(plan, notes)


def instance_name(domain: str, node: str) -> str:
    """The instance's name: the domain's, with the node's DNS domain if it has none.

    Ganeti writes names in lower case.
    """
    name = domain if "." in domain else f"{domain}.{node.partition('.')[2]}"
    return name.rstrip(".").lower()


def choice(rules: GroupRules, node: str) -> Callable[[Inventory, DiskFacts], str]:
    """The volume group that a plan on this node gives a disk, if the instance has its default name.

    See `importer.domains.totals.Rule`.
    """

    def group(inventory: Inventory, fact: DiskFacts) -> str:
        name = inventory.domain.name
        instance = instance_name(name, node)
        lvs = _volumes(inventory.disks, (name, instance), instance)
        return rules.group(fact.disk, lvs[inventory.disks.index(fact)], fact.size)

    return group


def disks(
    facts: Sequence[DiskFacts],
    prefixes: Sequence[str],
    instance: str,
    groups: Mapping[str, VolumeGroup],
    rules: GroupRules,
) -> tuple[DiskPlan, ...]:
    """The volumes for disks; see `draft`."""
    planned: list[DiskPlan] = []
    for fact, lv in zip(facts, _volumes(facts, prefixes, instance), strict=True):
        vg = rules.group(fact.disk, lv, fact.size)
        unit = lcm(groups[vg].extent, MIB)  # Ganeti counts in MiB, and cuts off the rest
        swap = _swap(fact)
        planned.append(
            DiskPlan(
                target=fact.disk.target,
                path=fact.disk.path,
                format=fact.disk.format,
                is_block=fact.disk.is_block,
                size=fact.size,
                vg=vg,
                lv=lv,
                volume_size=-(-fact.size // unit) * unit,
                swap_uuid=None if swap is None else swap.uuid,
                swap_label=None if swap is None else swap.label,
            )
        )
    return tuple(planned)


def _volumes(facts: Sequence[DiskFacts], prefixes: Sequence[str], instance: str) -> list[str]:
    """The names of the volumes for disks, in their order."""
    roles: list[str] = []
    for number, fact in enumerate(facts):
        role = _role(number, fact, prefixes)
        roles.append(f"{role}-{fact.disk.target}" if role in roles else role)
    return [f"{instance}-{role}" for role in roles]


def _swap(fact: DiskFacts) -> Area | None:
    """The swap area that is the whole disk, if it can be made anew; else it is copied as a disk."""
    area = fact.swap
    can = area is not None and names.is_uuid(area.uuid) and names.is_swap_label(area.label)
    return area if can else None


def _role(number: int, fact: DiskFacts, prefixes: Sequence[str]) -> str:
    """What a disk is for: root, swap, or what its image's name says of it, without the domain's."""
    if _swap(fact) is not None:
        return "swap"
    if number == 0:
        return "root"
    stem = PurePosixPath(fact.disk.path).name
    for suffix in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    for prefix in sorted(prefixes, key=len, reverse=True):
        if stem[: len(prefix) + 1] in [f"{prefix}{between}" for between in "-_."]:
            stem = stem[len(prefix) + 1 :]
            break
    return stem if _ROLE.fullmatch(stem) else fact.disk.target


def _nic(number: int, nic: SourceNic, given: Network) -> NicPlan:
    def of(values: tuple[str, ...]) -> str | None:
        return (values[number] or None) if number < len(values) else None

    network = of(given.networks)
    return NicPlan(
        old_mac=nic.mac,
        mac=nic.mac if given.keep_macs else "generate",
        network=network,
        link=None if network else of(given.links),
        ip=of(given.addresses) or ("pool" if network else None),
    )
