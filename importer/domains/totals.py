"""What several domains need together, beside what this node has. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from importer.domains.inventory import DiskFacts, Inventory


class Group(Protocol):
    """A volume group, such as `node.devices.lvm.VolumeGroup`."""

    @property
    def free(self) -> int:
        """Its free space, bytes."""

    def whole_extents(self, size: int) -> int:
        """The size of a volume for `size` bytes."""


# Names the volume group of a disk.
Rule = Callable[[Inventory, DiskFacts], str]


@dataclass(frozen=True)
class Totals:
    """Sums over domains; memory and sizes in bytes."""

    domains: int
    vcpus: int
    memory: int
    disks: int
    size: int
    allocated: int


@dataclass(frozen=True)
class Need:
    """What is needed of a volume group, beside what is free there; bytes."""

    group: str
    needed: int
    free: int

    @property
    def missing(self) -> int:
        """How much too little is free; 0 if it is enough."""
        return max(0, self.needed - self.free)


def totals(inventories: Sequence[Inventory]) -> Totals:
    """The sums over some domains."""
    disks = [disk for each in inventories for disk in each.disks]
    return Totals(
        domains=len(inventories),
        vcpus=sum(each.domain.vcpus for each in inventories),
        memory=sum(each.domain.memory for each in inventories),
        disks=len(disks),
        size=sum(disk.size for disk in disks),
        allocated=sum(disk.allocated for disk in disks),
    )


def needs(
    inventories: Iterable[Inventory], groups: Mapping[str, Group], rule: Rule | None = None
) -> list[Need]:
    """What the disks of some domains need of each volume group.

    Args:
        inventories: of the domains.
        groups: the volume groups, by name.
        rule: which of them a disk goes to; None: for each group, what it needs if all go there.

    Raises:
        KeyError: the rule names a volume group that is not in `groups`.
    """
    needed = dict.fromkeys(groups, 0)
    for each in inventories:
        for disk in each.disks:
            for name in groups if rule is None else (rule(each, disk),):
                needed[name] += groups[name].whole_extents(disk.size)
    return [Need(name, needed[name], group.free) for name, group in groups.items()]
