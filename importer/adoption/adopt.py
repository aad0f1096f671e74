"""Gives the volumes of an import to Ganeti, and starts the instance; each step can be rerun."""

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from importer.adoption import mirroring, nvram, volumes
from importer.adoption.adopted import (
    are_renamed,
    as_found,
    begin_again,
    disk_number,
    exists,
    is_owned,
    located,
    owner_tag,
    refreshed,
)
from importer.errors import MasterLost
from importer.ganeti import Ganeti, await_job
from importer.host.connection import KvmHost
from importer.host.virsh import Virsh
from importer.journal import ImportState, Journal
from importer.plan import command
from importer.plan.model import ImportPlan
from importer.plan.word import UNKNOWN
from node.devices import lvm
from node.devices.lvm import LogicalVolume
from node.devices.settling import SETTLE_SECONDS
from node.errors import KitError
from node.log import log, step

RUNS = ("running", "in shutdown")  # virsh's words of a domain that changes its disks


@dataclass(frozen=True)
class Wanted:
    """What is asked of an adoption.

    Attributes:
        trial: whether the source may still run: the copies are then behind it.
        convert: whether the disks are to be mirrored by DRBD.
        secondary: the other node for that; None lets Ganeti choose it.
        fail_over: whether the instance is to run on the secondary node.
        start: whether it is to be started.
        plan: its file, as a word of the commands in hints (`importer.plan.word`).
    """

    trial: bool = False
    convert: bool = False
    secondary: str | None = None
    fail_over: bool = False
    start: bool = False
    plan: str = UNKNOWN


def commands(plan: ImportPlan, wanted: Wanted) -> Iterator[list[str]]:
    """All commands of an adoption on the master, in order. Pure."""
    yield command.add(plan)
    if wanted.convert:
        yield command.convert(plan.instance, wanted.secondary)
    if wanted.fail_over:
        yield command.fail_over(plan.instance)
    if wanted.start:
        yield command.start(plan.instance)


def problems(
    plan: ImportPlan,
    state: ImportState,
    found: dict[str, LogicalVolume],
    source: str,
    wanted: Wanted,
) -> Iterator[tuple[str, str]]:
    """What forbids an adoption, and the remedy. Pure.

    Args:
        plan: the plan.
        state: of the journal.
        found: the volumes that exist, by source disk.
        source: virsh's word for the state of the source; "" if it does not matter (`asks_source`).
        wanted: what is asked.
    """
    name = plan.instance
    if wanted.trial and (wanted.convert or wanted.fail_over):
        yield "--trial: the copies are not complete, DRBD would mirror them", "leave one out"
    if wanted.trial and any(nic.mac == nic.old_mac for nic in plan.nics):
        yield "--trial: the plan keeps MAC addresses, and the source still runs", "mac = generate"
    if wanted.fail_over and not wanted.convert and not state.done("convert"):
        yield "--failover: the disks are not mirrored by DRBD", "--drbd"
    copy = f"instance-kit import copy {wanted.plan}"
    again = f"--trial, to try {name} while the source runs; or: {copy} --final"
    missing = [disk for disk in plan.disks if disk.target not in found]
    if missing:
        remedy, were_made = copy, state.done("volumes")
        if were_made and (state.done("add") or any(disk.is_copied for disk in missing)):
            remedy = begin_again(state)
        elif were_made and state.done("copy"):
            remedy = f"{copy} --again"  # which makes swap areas anew
        yield f"no volume for disk {', '.join(disk.target for disk in missing)}", remedy
    elif not state.done("copy") and not state.done("final copy"):
        yield "no copy is complete", copy
    elif wanted.trial:
        pass
    elif source in RUNS:
        yield f"the source is {source}: it has changed since the last copy", again
    elif not state.done("final copy"):
        yield "the source has changed since the last copy", again
    if not state.done("add"):
        yield from _open_volumes(found)


def _open_volumes(found: dict[str, LogicalVolume]) -> Iterator[tuple[str, str]]:
    """Volumes that Ganeti does not adopt, since something has them open. Pure."""
    for volume in found.values():
        if volume.is_open:
            where = f"{volume.vg}/{volume.name}"
            yield f"volume {where}: something has it open", f"fuser -v /dev/{where}"


def _closed(state: ImportState) -> dict[str, LogicalVolume]:
    """The volumes that exist, by source disk; udev has them open for a moment after a pass."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = located(state.volumes, lvm.volumes())
        is_open = not state.done("add") and any(_open_volumes(found))
        if not is_open or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def asks_source(state: ImportState, wanted: Wanted) -> bool:
    """Whether an adoption needs the KVM host, which may be gone when the instance exists. Pure."""
    return wanted.start or not state.done("add")


def adopt(
    plan: ImportPlan,
    journal: Journal,
    ganeti: Ganeti,
    wanted: Wanted,
    host: KvmHost | None,
) -> None:
    """Does all steps that are wanted and not complete.

    Args:
        plan: the plan.
        journal: of the import.
        ganeti: the cluster.
        wanted: what is asked.
        host: the KVM host, if it is needed (`asks_source`).

    Raises:
        KitError: a step failed, or cannot be done. Rerun it when the cause is gone.
    """
    state = journal.update(refreshed)
    found = _closed(state)
    source = "" if host is None else Virsh(host).state(plan.uuid).state
    reasons = list(problems(plan, state, found, source, wanted))
    if reasons:
        raise KitError(
            f"adoption of {plan.instance}: " + "; ".join(what for what, _ in reasons),
            hint="; ".join(dict.fromkeys(remedy for _, remedy in reasons)),
        )
    if not state.done("add"):
        if plan.variables is not None and host is not None:
            with step("copy the UEFI variables"):
                nvram.fetch(host, plan.variables)
        with step(f"adopt {len(plan.disks)} volumes as {plan.instance}"):
            _add(plan, journal, ganeti)
    tag(plan, journal)
    if wanted.convert and not journal.read().done("convert"):
        with step("mirror the disks by DRBD"):
            mirroring.convert(plan, ganeti, wanted.secondary)
            journal.update(lambda state: refreshed(state).with_step("convert"))
    if wanted.fail_over and not journal.read().done("fail over"):
        with step("fail over"):
            mirroring.fail_over(plan, ganeti)
            journal.completed("fail over")
    if wanted.start:
        with step("start"):
            ganeti.run(command.start(plan.instance))
            journal.completed("start")
    if wanted.trial:
        log.warning(
            "%s is a trial: gnt-instance remove would destroy the copies; to go on, into the same"
            " volumes: gnt-instance shutdown %s, then instance-kit import copy %s --final",
            *(plan.instance, plan.instance, wanted.plan),
        )


def rehearse(plan: ImportPlan, journal: Journal, ganeti: Ganeti, host: KvmHost) -> None:
    """Finds out what would make an adoption fail, before the source is stopped for it.

    Ganeti makes all its checks in a dry run, too; it makes and reserves nothing then. It waits for
    the locks of other jobs, as it would for the adoption.

    Args:
        plan: the plan.
        journal: of the import, whose volumes exist.
        ganeti: the cluster.
        host: the KVM host.

    Raises:
        KitError: the adoption would fail.
    """
    state = journal.update(refreshed)
    if state.done("add"):  # a trial
        return
    if plan.variables is not None:
        nvram.read(host, plan.variables)
    with step(f"ask Ganeti whether it would adopt the volumes as {plan.instance}"):
        found = settled(plan, state, ganeti)
        if exists(plan.instance):
            _require_ours(plan, found)
            return
        for what, remedy in _open_volumes(_closed(state)):
            raise KitError(what, hint=remedy)
        argv = command.rehearse(plan)
        log.info("+ %s", shlex.join(argv))
        try:
            ganeti.run(argv)
        except MasterLost:
            raise
        except KitError as error:
            raise KitError(
                f"Ganeti would not make {plan.instance}: {error.message}",
                hint="correct the plan or the cluster; the domain is left as it is until then",
            ) from error


def _add(plan: ImportPlan, journal: Journal, ganeti: Ganeti) -> None:
    """Adds the instance, or finds that an earlier run has done so, which was killed after that."""
    found = settled(plan, journal.read(), ganeti)
    if not exists(plan.instance):
        journal.update(lambda state: replace(state, add_began=True))
        log.info("+ %s", shlex.join(command.add(plan)))
        try:
            ganeti.run(command.add(plan))
        except MasterLost as error:  # by hand, it would be a second job
            raise KitError(
                error.message,
                hint="run this again: if Ganeti has begun the job, it waits for its end",
            ) from error
        found = located(journal.read().volumes, lvm.volumes())
    _require_ours(plan, found)

    def adopted(state: ImportState) -> ImportState:
        state = as_found(state, found, exists=True)
        made = tuple(replace(each, adopted=True) for each in state.volumes)
        return replace(state, volumes=made).with_step("add")

    journal.update(adopted)


def _require_ours(plan: ImportPlan, found: dict[str, LogicalVolume]) -> None:
    """Refuses an instance of the plan's name that has other disks."""
    if not are_renamed(plan, found):
        raise KitError(
            f"instance {plan.instance}: Ganeti has one of that name, which does not have the"
            " volumes of this import",
            hint=f"gnt-instance info {plan.instance}; another instance name needs another plan",
        )


def settled(plan: ImportPlan, state: ImportState, ganeti: Ganeti) -> dict[str, LogicalVolume]:
    """Waits for what an earlier run has left to Ganeti; undoes what failed there halfway.

    Returns:
        The volumes by source disk. If there is no instance, they have the plan's names.

    Raises:
        KitError: the master does not answer, or a volume cannot be renamed.
    """
    await_job(ganeti, f"INSTANCE_CREATE({plan.instance})")
    found = located(state.volumes, lvm.volumes())
    if not exists(plan.instance):
        _restore_names(plan, found, ganeti)
        found = located(state.volumes, lvm.volumes())
    return found


def _restore_names(plan: ImportPlan, found: dict[str, LogicalVolume], ganeti: Ganeti) -> None:
    """Undoes what a job that failed has renamed already: there is no instance.

    Raises:
        KitError: a volume is that of an instance, or cannot be renamed.
    """
    renamed = any(found[disk.target].name != disk.lv for disk in plan.disks if disk.target in found)
    if renamed and [plan.instance] in ganeti.listed("instance", ("name",)):
        raise KitError(
            f"instance {plan.instance}: the master has it, but not the list of this node",
            hint="gnt-cluster redist-conf, then this again",
        )
    for disk in plan.disks:
        volume = found.get(disk.target)
        if volume is not None and is_owned(volume):
            raise KitError(
                f"volume {volume.vg}/{volume.name}: its tags say that an instance has it, but"
                f" Ganeti has no {plan.instance}",
                hint="was the instance renamed? then the import is complete",
            )
        if volume is not None and volume.name != disk.lv:
            log.info("%s/%s: renamed back to %s", volume.vg, volume.name, disk.lv)
            lvm.rename(volume, disk.lv)


def tag(plan: ImportPlan, journal: Journal) -> None:
    """Gives adopted volumes the tag that Ganeti gives its own, in place of that of the import.

    Those that it has not renamed are not adopted: another instance may have the plan's name.

    Raises:
        KitError: LVM fails.
    """
    if journal.read().done("tag"):
        return
    for volume in located(journal.read().volumes, lvm.volumes()).values():
        if disk_number(volume.name) is None:
            continue
        lvm.retag(volume, add=[owner_tag(plan.instance)], remove=[volumes.tag(plan.instance)])
    journal.completed("tag")
