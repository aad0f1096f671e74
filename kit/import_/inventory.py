"""`instance-kit import inventory`: what is on a KVM host, and whether there is room for it here."""

import argparse
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from math import ceil, floor
from typing import Any

from importer import ganeti
from importer.domains.inventory import Area, DiskFacts, Inventory
from importer.domains.totals import Need, Rule, needs, totals
from importer.errors import HostLost
from importer.host.connection import KvmHost, connected
from importer.host.virsh import Virsh
from importer.inspection import host_facts, take
from importer.plan.rules import choice
from kit import DONE
from kit.import_ import group_rules
from node.devices.lvm import groups
from node.errors import KitError
from node.log import log
from node.program import say
from node.text import printable, size

NAME = "inventory"
ABOUT = "list what domains of a KVM host consist of, and whether there is room for them here"

_FIRMWARE = {"bios": "BIOS", "uefi": "UEFI"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument("host", metavar="HOST", help="the KVM host, as ssh is given it")
    parser.add_argument(
        "domains", nargs="*", metavar="DOMAIN", help="names or UUIDs; default: all domains there"
    )
    group_rules.arguments(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Prints the inventories of the domains and their sums.

    Raises:
        KitError: the host cannot be reached, or domains of it cannot be read; or a rule names a
            volume group that this node does not have.
    """
    room = groups()
    rule = _rule(options, room)
    failures: dict[str, KitError] = {}
    with connected(options.host) as host:
        taken = _take_all(host, options.domains, failures)
    needed = needs(taken, room, rule)
    if options.json:
        say(json.dumps(as_json(taken, needed, failures), indent=2))
    else:
        for each in taken:
            say("\n".join([*map(printable, as_text(each)), ""]))
        room_lines = room_table(needed, by_rules=rule is not None)
        say("\n".join(map(printable, [*table(taken), "", *room_lines])))
    if failures:
        for name, error in failures.items():
            log.error("domain %s: %s", name, error.message)
            log.error("  hint: %s", error.hint)
        raise KitError(
            f"domains of {options.host}: no inventory of {', '.join(failures)}"
            f" ({len(failures)} of {len(failures) + len(taken)})",
            hint="the lines above name the reasons",
        )
    return DONE


def _rule(options: argparse.Namespace, room: Collection[str]) -> Rule | None:
    """Which volume group a disk gets by the options; None without any."""
    if not group_rules.are_given(options):
        return None
    cluster = ganeti.of_this_node()
    return choice(group_rules.given(options, cluster, room), cluster.here)


def _take_all(
    host: KvmHost, wanted: Sequence[str], failures: dict[str, KitError]
) -> list[Inventory]:
    """The inventories of the wanted domains, or of all; adds what fails for one to `failures`."""
    listed = {each.uuid: each.name for each in Virsh(host).domains()}
    names = wanted or sorted(listed, key=lambda uuid: listed[uuid])
    facts = host_facts(host)
    taken = []
    for name in dict.fromkeys(names):
        try:
            taken.append(take(host, name, facts))
        except HostLost:
            raise
        except KitError as error:
            failures[listed.get(name, name)] = error
    return taken


def as_text(inventory: Inventory) -> Iterator[str]:
    """Lines for people."""
    domain = inventory.domain
    parts = [
        f"{domain.vcpus} vCPU" + ("s" if domain.vcpus > 1 else ""),
        f"{size(domain.memory)} memory",
        _FIRMWARE[domain.firmware] + (f" (variables: {domain.nvram})" if domain.nvram else ""),
        f"machine {domain.machine}",
        f"CPU {domain.cpu or 'of QEMU'}",
        "serial console" if domain.has_console else "no serial console",
        "guest agent" if domain.has_agent else "no guest agent",
    ]
    yield f"{domain.name} ({inventory.state}): {', '.join(parts)}"
    for disk in inventory.disks:
        yield from _disk_text(disk)
    for nic in domain.nics:
        yield f"  NIC {nic.mac}: {nic.model}, {nic.source or 'no network'}"
    if inventory.snapshots:
        yield f"  snapshots, which are not moved: {', '.join(inventory.snapshots)}"
    for loss in domain.losses:
        yield f"  not moved: {loss}"
    for obstacle in domain.obstacles:
        yield f"  cannot be moved: {obstacle.what}"
        yield f"    hint: {obstacle.remedy}"


def _disk_text(disk: DiskFacts) -> Iterator[str]:
    source = disk.disk
    kind = f"{source.format} on a block device" if source.is_block else source.format
    yield (
        f"  disk {source.target} ({source.bus}): {size(disk.size)}, {size(disk.allocated)}"
        f" allocated, {kind}, {source.path}"
    )
    if disk.table:
        yield f"    partition table {disk.table}" + (", boot loader" if disk.boots else "")
    elif disk.boots:
        yield "    no partition table, boot loader"
    for area in disk.areas:
        yield f"    {_area_text(area)}"
    if disk.bad_bitmaps:
        yield f"    inconsistent bitmaps: {', '.join(disk.bad_bitmaps)}"


def _area_text(area: Area) -> str:
    names = [f"UUID={area.uuid}" if area.uuid else "", f"LABEL={area.label}" if area.label else ""]
    return ", ".join(filter(None, [area.type, size(area.length), *names]))


def table(taken: Sequence[Inventory]) -> list[str]:
    """The domains and their sums, as a table."""
    rows = [("DOMAIN", "STATE", "VCPUS", "MEMORY", "DISKS", "SIZE", "ALLOCATED", "MOVABLE")]
    for each in taken:
        sums = totals([each])
        figures = (str(sums.vcpus), size(sums.memory), str(sums.disks))
        sizes = (size(sums.size, ceil), size(sums.allocated, ceil))
        movable = "no" if each.domain.obstacles else "yes"
        rows.append((each.domain.name, each.state, *figures, *sizes, movable))
    sums = totals(taken)
    figures = (str(sums.vcpus), size(sums.memory), str(sums.disks))
    sizes = (size(sums.size, ceil), size(sums.allocated, ceil))
    rows.append((f"{sums.domains} in all", "", *figures, *sizes, ""))
    return _aligned(rows, left=2)


def room_table(needed: Sequence[Need], *, by_rules: bool) -> list[str]:
    """What the disks need of each volume group of this node, as a table.

    Args:
        needed: of each group.
        by_rules: whether each disk is in one of the groups only; else all are in each.
    """
    rows = [("VOLUME GROUP", "BY RULES" if by_rules else "ALL DISKS", "FREE", "MISSING")]
    for each in needed:
        missing = size(each.missing, ceil) if each.missing else "-"
        rows.append((each.group, size(each.needed, ceil), size(each.free, floor), missing))
    return _aligned(rows, left=1) if needed else ["this node has no volume group"]


def _aligned(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """The lines of a table; its first `left` columns and the last one are text, others figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if number < left or number == last else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def as_json(
    taken: Sequence[Inventory], needed: Sequence[Need], failures: dict[str, KitError]
) -> dict[str, Any]:
    """All of it for programs; figures are bytes."""
    return {
        "domains": [asdict(each) for each in taken],
        "totals": asdict(totals(taken)),
        "volume_groups": [asdict(each) for each in needed],
        "failures": [
            {"domain": name, "error": error.message, "hint": error.hint}
            for name, error in failures.items()
        ],
    }
