"""The volumes that the disks of an import are copied into."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from importer.adoption import adopted, volumes
from importer.journal import Journal, Volume
from importer.plan.model import ImportPlan
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
    copied = [disk.target for disk in plan.disks if disk.swap_uuid is None]
    if not journal.read().done("volumes"):
        _make(journal, plan)
    found = adopted.located(journal.read().volumes, lvm.volumes())
    if missing := [target for target in copied if target not in found]:
        raise KitError(
            f"import {plan.instance}: the volumes of {', '.join(missing)} are gone",
            hint=f"begin again: instance-kit import abort {plan.instance}",
        )
    other = adopted.owner(found.values())
    if other not in (None, plan.instance):
        raise KitError(
            f"import {plan.instance}: its volumes are disks of the instance {other}: a copy would"
            " overwrite them",
            hint=f"was it renamed? then the import is complete: gnt-instance info {other}",
        )
    return {target: found[target].path for target in copied}


def _make(journal: Journal, plan: ImportPlan) -> None:
    there = volumes.create(plan.disks, plan.instance)
    noted = tuple(
        Volume(target, volume.vg, volume.name, volume.uuid) for target, volume in there.items()
    )
    journal.update(lambda state: replace(state, volumes=noted))
    for disk in plan.disks:
        log.info("volume %s/%s for disk %s", disk.vg, disk.lv, disk.target)
        if disk.swap_uuid is not None:
            volumes.make_swap(disk, there[disk.target])
    journal.completed("volumes")
