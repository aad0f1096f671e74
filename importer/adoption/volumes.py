"""The logical volumes that an import makes: created, found again by their tag, removed.

Each has the tag `import+NAME` from the moment it is made, so that `abort` finds it, whatever
happened in between. LVM's tools are asked, not sysfs.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from converter import CopyOptions, KitError, LogicalVolume, new_swap
from converter.engine.journal import Journal
from converter.errors import TargetInUse
from converter.identity import identity_of
from importer.adoption.adopted import is_adopted
from importer.plan.model import DiskPlan
from node import text
from node.devices import lvm
from node.devices.claim import claimed
from node.devices.lvm import VolumeGroup

# lvm(8), "Valid names": what tags may consist of.
_TAG = re.compile(r"[A-Za-z0-9_+.\-/=!:&#]{1,1024}")


def tag(name: str) -> str:
    """The tag of the volumes of an import.

    Raises:
        KitError: the import's name has characters that tags cannot have.
    """
    made = f"import+{name}"
    if not _TAG.fullmatch(made):
        raise KitError(
            f"import {name!r}: LVM does not take the name as a tag",
            hint="letters, digits and _+.-/=!:&# are possible",
        )
    return made


def missing(
    disks: Sequence[DiskPlan],
    name: str,
    groups: Mapping[str, VolumeGroup],
    volumes: Iterable[LogicalVolume],
) -> list[DiskPlan]:
    """The disks whose volumes are still to be made. Pure.

    Args:
        disks: of the plan.
        name: of the import.
        groups: of this node, by name.
        volumes: all of this node.

    Raises:
        KitError: something is not as planned; the message has all findings.
    """
    there = {(each.vg, each.name): each for each in volumes}
    found: list[DiskPlan] = []
    wrong: list[str] = []
    for disk in disks:
        label = f"{disk.vg}/{disk.lv}"
        group = groups.get(disk.vg)
        if group is None:
            wrong.append(f"{label}: this node has no volume group {disk.vg}")
        elif disk.volume_size % group.extent or disk.volume_size < disk.size:
            wrong.append(
                f"{label}: {disk.volume_size} bytes: not a multiple of {group.extent}, or less than"
                f" the disk's {disk.size}"
            )
        elif (volume := there.get((disk.vg, disk.lv))) is None:
            found.append(disk)
        elif tag(name) not in volume.tags:
            wrong.append(f"{label}: the name is taken by a volume that this import has not made")
        elif volume.size != disk.volume_size:
            wrong.append(f"{label}: it has {volume.size} bytes, not {disk.volume_size}")
    for vg in sorted({disk.vg for disk in found}):
        needed = sum(disk.volume_size for disk in found if disk.vg == vg)
        if needed > groups[vg].free:
            wrong.append(
                f"{vg}: {text.size(needed)} are needed, {text.size(groups[vg].free)} are free"
            )
    if wrong:
        raise KitError(
            f"volumes of import {name}: {'; '.join(wrong)}",
            hint="change the plan, or make room: vgs and lvs list groups and volumes",
        )
    return found


def create(disks: Sequence[DiskPlan], name: str) -> dict[str, LogicalVolume]:
    """Makes the volumes that are not there yet; all is checked before the first one is made.

    A new volume may hold what an earlier one left there, so its first copy needs `force`.

    After a failure those that were made stay, for another run or for `remove`.

    Returns:
        All volumes of the plan, by the disks' names in the domain.

    Raises:
        KitError: something is not as planned, or LVM fails.
    """
    for disk in missing(disks, name, lvm.groups(), lvm.volumes()):
        lvm.create(disk.vg, disk.lv, disk.volume_size, tags=[tag(name)])
    return {disk.target: lvm.volume(disk.vg, disk.lv) for disk in disks}


def make_swap(disk: DiskPlan, volume: LogicalVolume) -> None:
    """Makes a volume of an import the swap area that the plan wants; it may be one already.

    Raises:
        KitError: the plan's UUID or label is none, or the volume cannot be written.
    """
    what = f"swap area of {disk.target}"
    try:
        uuid = UUID(disk.swap_uuid) if disk.swap_uuid else UUID(int=0)
        options = CopyOptions(force=True, readers_allowed=True)
        new_swap(uuid, disk.swap_label or "", volume.path, options)
    except ValueError as error:
        raise KitError(f"{what}: {error}", hint="correct UUID and label in the plan") from error


def of_import(name: str) -> list[LogicalVolume]:
    """All volumes with the tag of an import, adopted ones too.

    Raises:
        KitError: LVM fails.
    """
    return [each for each in lvm.volumes() if tag(name) in each.tags]


@dataclass(frozen=True)
class Removal:
    """What `remove` did: the volumes that are gone, and those that stay, with the reason."""

    removed: tuple[LogicalVolume, ...]
    kept: tuple[tuple[LogicalVolume, str], ...]


def remove(name: str) -> Removal:
    """Removes the volumes of an import that Ganeti has not adopted and that nobody uses.

    Raises:
        KitError: LVM fails.
    """
    removed, kept = [], []
    for volume in of_import(name):
        if is_adopted(volume):
            kept.append((volume, "a disk of an instance: gnt-instance remove would remove it"))
            continue
        try:
            _forget_copy(volume)
        except TargetInUse as used:
            kept.append((volume, used.message))
            continue
        lvm.remove(volume)
        removed.append(volume)
    return Removal(tuple(removed), tuple(kept))


def _forget_copy(volume: LogicalVolume) -> None:
    """Removes the journal of an interrupted copy to a volume.

    Raises:
        TargetInUse: somebody uses the volume.
    """
    if not volume.path.exists():  # not active
        return
    label = f"volume {volume.vg}/{volume.name}"
    with claimed(volume.path, name=label, in_use=TargetInUse, readers_allowed=True) as backing:
        Journal(identity_of(backing.fd, backing.size)).remove()
