"""The checks of a plan before anything is made: all that would stop the import later. Pure."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, floor

from importer.domains.inventory import HostFacts, Inventory
from importer.plan import cluster_checks, source_checks
from importer.plan.cluster_checks import ClusterFacts
from importer.plan.hypervisor import IDE_DISKS, VALUES, Qemu
from importer.plan.model import ImportPlan
from importer.plan.rules import VolumeGroup
from node.errors import KitError
from node.finding import Finding, failure, note, ok, problem
from node.text import size

# Bitmaps of several backups in a row: of libvirt since 7.6, with QEMU 6.1 (libvirt's news.rst).
LIBVIRT_BACKUPS, QEMU_BACKUPS = (7, 6, 0), (6, 1, 0)
LEAST_SCRATCH = 1 << 30  # bytes
CLOCK_SECONDS = 5.0


@dataclass(frozen=True)
class Facts:
    """What the checks need to know.

    Attributes:
        node: the name of this node.
        groups: its volume groups.
        volumes: its logical volumes, as vg/lv.
        qemu: its QEMU.
        missing: files that the plan's firmware needs, and the node does not have.
        cluster: as the master tells; the error if it cannot be asked.
        names: the addresses that DNS has for the instance.
        clock: seconds that the KVM host's clock is ahead; None if unknown.
        ours: volumes (vg/lv) and instance that an earlier run of this import made.
        links: the network devices of the node, bridges among them.
    """

    node: str
    groups: Mapping[str, VolumeGroup]
    volumes: frozenset[str]
    qemu: Qemu
    missing: tuple[str, ...]
    cluster: ClusterFacts | KitError
    names: tuple[str, ...]
    clock: float | None
    ours: frozenset[str] = field(default_factory=frozenset)
    links: frozenset[str] = field(default_factory=frozenset)


def findings(plan: ImportPlan, inventory: Inventory, facts: Facts) -> list[Finding]:
    """All findings; a problem among them means that the import would fail."""
    return [
        *source_checks.checked(plan, inventory),
        *_host(plan, inventory, facts),
        *_volumes(plan, facts),
        *_hardware(plan, facts),
        *_links(plan, facts),
        *_dns(plan, facts),
        *_cluster(plan, facts),
    ]


def _host(plan: ImportPlan, inventory: Inventory, facts: Facts) -> Iterator[Finding]:
    host = inventory.host
    yield from _methods(plan, inventory)
    if host.libvirt >= LIBVIRT_BACKUPS and host.qemu >= QEMU_BACKUPS:
        yield from _scratch(plan, inventory, host)
    if facts.clock is not None and abs(facts.clock) > CLOCK_SECONDS:
        ahead = "ahead of" if facts.clock > 0 else "behind"
        yield note(
            f"clock of {host.name}",
            f"{abs(facts.clock):.0f} s {ahead} this node's: the guest's clock jumps",
            "synchronise both with NTP",
        )


def _methods(plan: ImportPlan, inventory: Inventory) -> Iterator[Finding]:
    host = inventory.host
    words = [".".join(map(str, version)) for version in (host.libvirt, host.qemu)]
    versions = "libvirt {}, QEMU {}".format(*words)
    if host.libvirt < LIBVIRT_BACKUPS or host.qemu < QEMU_BACKUPS:
        yield note(
            f"host {host.name}",
            f"{versions}: no incremental backups before libvirt 7.6 and QEMU 6.1",
            "disks are compared by hashes: the last pass reads all of them",
        )
        return
    yield ok(f"host {host.name}", versions)
    if inventory.snapshots:
        yield note(
            f"domain {inventory.domain.name}",
            f"snapshots: {', '.join(inventory.snapshots)}: libvirt then makes no checkpoints",
            "disks are compared by hashes; without snapshots the last pass is shorter",
        )
    copied = _copied(plan)
    for fact in inventory.disks:
        about = f"disk {fact.disk.target}"
        if fact.disk.target not in copied:
            continue
        if fact.bad_bitmaps:
            listed = ", ".join(fact.bad_bitmaps)
            yield note(
                about,
                f"inconsistent bitmaps: {listed}",
                "it is compared by hashes; while the domain is off: qemu-img bitmap --remove"
                f" {shlex.quote(fact.disk.path)} NAME",
            )
        elif not fact.keeps_bitmaps:
            yield note(
                about,
                f"{fact.disk.format} without bitmaps",
                "it is compared by hashes: the last pass reads all of it",
            )


def _copied(plan: ImportPlan) -> frozenset[str]:
    """The targets of the disks that are copied: swap areas are made anew, unless it says else."""
    return frozenset(disk.target for disk in plan.disks if disk.is_copied)


def _scratch(plan: ImportPlan, inventory: Inventory, host: HostFacts) -> Iterator[Finding]:
    copied = _copied(plan)
    allocated = sum(fact.allocated for fact in inventory.disks if fact.disk.target in copied)
    about, free = f"scratch files on {host.name}", host.scratch_free
    if free < LEAST_SCRATCH:
        yield problem(
            about,
            f"{size(free, floor)} free; a full file system pauses the guest",
            f"free at least {size(LEAST_SCRATCH)}, better {size(allocated // 10 + LEAST_SCRATCH)}",
        )
    elif free < allocated // 10:
        yield note(
            about,
            f"{size(free, floor)} free, less than a tenth of what is copied: the copy is stopped"
            " before it is full",
            "copy while the guest writes little",
        )
    else:
        yield ok(about, f"{size(free, floor)} free")


def _volumes(plan: ImportPlan, facts: Facts) -> Iterator[Finding]:
    needed: dict[str, int] = {}
    for disk in plan.disks:
        name = f"{disk.vg}/{disk.lv}"
        if name in facts.ours:
            continue
        needed[disk.vg] = needed.get(disk.vg, 0) + disk.volume_size
        if name in facts.volumes:
            yield problem(
                f"volume {name}", "the name is taken", f"another lv in the plan, or lvremove {name}"
            )
        group = facts.groups.get(disk.vg)
        if group is not None and disk.volume_size % group.extent:
            yield problem(
                f"volume {name}",
                f"{disk.volume_size} bytes are no whole extents of {size(group.extent)}",
                "round volume_size up",
            )
    for vg, total in needed.items():
        about = f"volume group {vg}"
        group = facts.groups.get(vg)
        if group is None:
            listed = ", ".join(sorted(facts.groups)) or "none"
            yield problem(about, "this node has none of that name", f"it has: {listed}")
        elif group.free < total:
            yield problem(
                about,
                f"needs {size(total, ceil)}, has {size(group.free, floor)} free",
                f"vgextend {vg}, or another vg in the plan",
            )
        else:
            yield ok(about, f"needs {size(total, ceil)}, has {size(group.free, floor)} free")


def _hardware(plan: ImportPlan, facts: Facts) -> Iterator[Finding]:
    parameters = plan.hypervisor
    if parameters.get("disk_type") == "ide" and len(plan.disks) > IDE_DISKS:
        yield problem(
            "disk_type ide",
            f"{len(plan.disks)} disks, and QEMU has {IDE_DISKS} on IDE",
            "disk_type paravirtual, if the guest has virtio drivers",
        )
    for name, known in (("machine_version", facts.qemu.machines), ("cpu_type", facts.qemu.cpus)):
        value = parameters.get(name, "").partition(",")[0]
        if value and known and value not in known:
            yield problem(f"{name} {value}", "the node's QEMU does not have it", "choose another")
    if parameters.get("cpu_type") == "host" and not facts.qemu.accelerated:
        yield problem("cpu_type host", "the cluster does not use KVM", "cpu_type max")
    for name, value in parameters.items():
        taken = VALUES.get(name)
        if "disk_type" in facts.qemu.cluster and name not in facts.qemu.cluster:
            yield note(
                f"hypervisor parameter {name}",
                "the cluster has none of that name: Ganeti refuses to add the instance",
                "see gnt-cluster info",
            )
        elif taken is not None and value not in taken:
            yield note(
                f"{name} {value}",
                "no value that Ganeti is known to take: it refuses to add the instance",
                f"one of: {', '.join(sorted(taken))}",
            )
    for path in facts.missing:
        yield problem(f"firmware {path}", "not on this node", "apt install ovmf, on every node")
    model = facts.qemu.cluster.get("security_model", "none")
    if plan.variables is not None and model != "none":
        yield note(
            f"UEFI variables {plan.variables.file}",
            f"QEMU runs as another user (security_model {model})",
            "make the file that user's after adoption, or security_model none",
        )


def _links(plan: ImportPlan, facts: Facts) -> Iterator[Finding]:
    """Ganeti checks bridges when the instance is added, at which time the machine is off."""
    bridges = {} if isinstance(facts.cluster, KitError) else facts.cluster.bridges(plan.node)
    for number, nic in enumerate(plan.nics):
        if nic.link is not None and nic.link not in facts.links:
            yield note(
                f"NIC {number}",
                f"this node has no bridge {nic.link}; Ganeti then adds no instance, unless NICs are"
                " routed",
                "another link in the plan, or make the bridge",
            )
        bridge = bridges.get(nic.network) if nic.network is not None else None
        if bridge is not None and bridge not in facts.links:
            yield problem(
                f"NIC {number}",
                f"network {nic.network} is connected to the bridge {bridge}, which this node does"
                " not have",
                "make the bridge, or another network in the plan",
            )


def _dns(plan: ImportPlan, facts: Facts) -> Iterator[Finding]:
    about = f"DNS of {plan.instance}"
    if facts.names:
        yield ok(about, ", ".join(facts.names))
    else:
        yield note(about, "no address", "a record before the switch")


def _cluster(plan: ImportPlan, facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.cluster, KitError):
        yield failure("cluster", facts.cluster)
    else:
        yield from cluster_checks.checked(
            plan, facts.cluster, facts.node, plan.instance in facts.ours
        )
