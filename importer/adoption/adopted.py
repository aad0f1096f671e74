"""Which volumes of an import Ganeti has adopted: it renames them, and LVM's UUIDs stay."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from importer.journal import ImportState, Volume
from importer.plan.model import ImportPlan
from node import cluster
from node.devices import lvm
from node.devices.lvm import LogicalVolume

_OWNER = "originstname+"
# Ganeti's instance_utils.py, _GenerateUniqueNames(): UUID.diskN, and with DRBD UUID.diskN_data.
_ADOPTED = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.disk(\d+)(?:_data)?")


def is_owned(volume: LogicalVolume) -> bool:
    """Whether a volume has Ganeti's tag of an instance. Pure."""
    return any(tag.startswith(_OWNER) for tag in volume.tags)


def owner(found: Iterable[LogicalVolume]) -> str | None:
    """The instance that has volumes by Ganeti's tag; it may have been renamed. Pure."""
    tags = (tag for volume in found for tag in volume.tags)
    return next((tag.removeprefix(_OWNER) for tag in tags if tag.startswith(_OWNER)), None)


def is_adopted(volume: LogicalVolume) -> bool:
    """Whether a volume is a disk of an instance by now, by Ganeti's name or tag. Pure."""
    return disk_number(volume.name) is not None or is_owned(volume)


def owner_tag(instance: str) -> str:
    """The tag that Ganeti gives to volumes that it makes (bdev.py, LogicalVolume.SetInfo())."""
    return f"{_OWNER}{instance}"


def disk_number(lv: str) -> int | None:
    """The number of the disk whose volume has this name by Ganeti; None for other names."""
    found = _ADOPTED.fullmatch(lv)
    return int(found[1]) if found else None


def located(
    recorded: Sequence[Volume], present: Sequence[LogicalVolume]
) -> dict[str, LogicalVolume]:
    """The volumes of an import that exist, by the name of their source disk. Pure."""
    by_uuid = {each.uuid: each for each in present}
    return {each.target: by_uuid[each.uuid] for each in recorded if each.uuid in by_uuid}


def are_renamed(plan: ImportPlan, found: dict[str, LogicalVolume]) -> bool:
    """Whether Ganeti has given all volumes the names of the plan's disks. Pure."""
    return all(
        disk.target in found and disk_number(found[disk.target].name) == number
        for number, disk in enumerate(plan.disks)
    )


def as_found(state: ImportState, found: dict[str, LogicalVolume], *, exists: bool) -> ImportState:
    """The state as it is now: names of volumes change, and an instance may have been removed. Pure.

    With the instance, Ganeti removes its volumes; then all of it has to be done again. But an
    import that was complete stays so: its source must not run again. If another instance has the
    volumes, this one was renamed.

    Args:
        state: as the journal has it.
        found: the volumes that exist, by source disk.
        exists: whether Ganeti has the instance.
    """
    volumes = tuple(
        replace(each, vg=found[each.target].vg, lv=found[each.target].name)
        for each in state.volumes
        if each.target in found
    )
    is_renamed = owner(found.values()) not in (None, state.instance)
    if exists or is_renamed or not state.done("add"):
        return replace(state, volumes=volumes)
    if not volumes:
        steps = {step: at for step, at in state.steps.items() if step == "finish"}
        return replace(state, volumes=(), steps=steps, passes=())
    state = replace(state, volumes=tuple(replace(each, adopted=False) for each in volumes))
    return state.without_step("add", "tag", "convert", "fail over", "start")


def without_bitmaps(state: ImportState) -> ImportState:
    """The state in which no bitmap of the source counts, if Ganeti has the volumes. Pure.

    The instance may have run since the last copy, on trial: what it wrote must be overwritten, and
    no bitmap of the source tells what that was. So the next pass compares all blocks, and does not
    continue an interrupted one.
    """
    if not any(each.adopted for each in state.volumes):
        return state
    passes = tuple(replace(each, checkpoint="") for each in state.passes if each.complete)
    return replace(state, passes=passes)


def refreshed(state: ImportState) -> ImportState:
    """The state as it is now, see `as_found`.

    Raises:
        KitError: LVM's tools fail.
    """
    found = located(state.volumes, lvm.volumes())
    return as_found(state, found, exists=exists(state.instance))


def exists(instance: str) -> bool:
    """Whether Ganeti has an instance of this name: its list is on every node."""
    return instance in cluster.ssconf("instance_list")


def begin_again(state: ImportState) -> str:
    """How to begin an import anew whose copies are gone, as a hint. Pure."""
    then = f", then gnt-instance remove {state.instance}" if state.done("add") else ""
    return f"begin again: instance-kit import abort {state.instance}{then}"
