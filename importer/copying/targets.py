"""The volumes that the disks of an import are copied into."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from importer.adoption import adopted, volumes
from importer.journal import Journal, Volume
from importer.plan.model import DiskPlan, ImportPlan
from node.devices import lvm
from node.errors import KitError
from node.log import log


def made(journal: Journal, plan: ImportPlan) -> Mapping[str, Path]:
    """Makes the volumes of an import that are not there yet, and its swap areas.

    Returns:
        The devices of the disks that are copied, by target. Ganeti may have renamed them.

    Raises:
        KitError: they cannot be made, are gone, or are those of an instance of another name.
    """
    if not journal.read().done("volumes"):
        _make(journal, plan)
    state = journal.read()
    found = adopted.located(state.volumes, lvm.volumes())
    gone = [disk for disk in plan.disks if disk.target not in found]
    if gone and (state.done("add") or any(disk.is_copied for disk in gone)):
        targets = ", ".join(disk.target for disk in gone)
        raise KitError(
            f"import {plan.instance}: the volumes of {targets} are gone",
            hint=adopted.begin_again(state),
        )
    other = adopted.owner(found.values())
    if other not in (None, plan.instance):
        raise KitError(
            f"import {plan.instance}: its volumes are disks of the instance {other}: a copy would"
            " overwrite them",
            hint=f"was it renamed? then the import is complete: gnt-instance info {other}",
        )
    for disk in gone:
        _make_swap_again(journal, plan, disk)
    return {disk.target: found[disk.target].path for disk in plan.disks if disk.is_copied}


def _make(journal: Journal, plan: ImportPlan) -> None:
    there = volumes.create(plan.disks, plan.instance)
    noted = tuple(
        Volume(target, volume.vg, volume.name, volume.uuid) for target, volume in there.items()
    )
    journal.update(lambda state: replace(state, volumes=noted))
    for disk in plan.disks:
        log.info("volume %s/%s for disk %s", disk.vg, disk.lv, disk.target)
        if not disk.is_copied:
            volumes.make_swap(disk, there[disk.target])
    journal.completed("volumes")


def _make_swap_again(journal: Journal, plan: ImportPlan, disk: DiskPlan) -> None:
    """Makes a swap area whose volume was removed; it is noted when it is complete."""
    volume = volumes.create([disk], plan.instance)[disk.target]
    log.info("volume %s/%s for disk %s, made again", disk.vg, disk.lv, disk.target)
    volumes.make_swap(disk, volume)
    made = Volume(disk.target, volume.vg, volume.name, volume.uuid)
    order = [each.target for each in plan.disks]
    journal.update(
        lambda state: replace(
            state,
            volumes=tuple(
                sorted((*state.volumes, made), key=lambda each: order.index(each.target))
            ),
        )
    )
