"""What stands in the way of a plan in its domain: obstacles, and what is not as planned. Pure."""

from collections.abc import Iterator

from importer.domains.domain import Domain
from importer.domains.inventory import DiskFacts, Inventory
from importer.plan.model import DiskPlan, ImportPlan
from node.finding import Finding, note, ok, problem


def checked(plan: ImportPlan, inventory: Inventory) -> Iterator[Finding]:
    """The findings about a plan, which may have been edited, and its domain, as it is now."""
    domain = inventory.domain
    about = f"domain {domain.name}"
    for obstacle in domain.obstacles:
        yield problem(about, obstacle.what, obstacle.remedy)
    if domain.uuid != plan.uuid:
        yield problem(about, f"its UUID is {domain.uuid} now", "make the plan anew: import plan")
    facts = {fact.disk.target: fact for fact in inventory.disks}
    for disk in plan.disks:
        fact = facts.get(disk.target)
        for change in _changes(disk, fact):
            yield problem(f"disk {disk.target}", change, "make the plan anew")
        if fact is not None and disk.swap_uuid is not None:
            yield from _swap(disk, fact)
    for target in sorted(facts.keys() - {disk.target for disk in plan.disks}):
        yield note(f"disk {target}", "not in the plan: it is not moved", "intended?")
    first = facts.get(plan.disks[0].target) if plan.disks else None
    if first is not None and not first.boots:
        others = [fact.disk.target for fact in inventory.disks if fact.boots]
        yield note(
            f"disk {first.disk.target}",
            "no boot loader found on it, and it becomes disk 0, from which the instance boots",
            f"put the [[disks]] of {others[0]} first, which has one"
            if others
            else "if another disk boots, put its [[disks]] first",
        )
    yield from _nics(plan, domain)
    if not domain.obstacles:
        yield ok(about, f"{inventory.state}, can be moved")


def _changes(disk: DiskPlan, fact: DiskFacts | None) -> Iterator[str]:
    """What of a planned disk is not as the domain has it now."""
    if fact is None:
        yield f"is gone, the plan has {disk.size} bytes"
        return
    if fact.size != disk.size:
        yield f"has {fact.size} bytes now, the plan has {disk.size}"
    now = fact.disk
    if now.path != disk.path:
        yield f"is {now.path} now, the plan has {disk.path}"
    if (now.format, now.is_block) != (disk.format, disk.is_block):
        kinds = [
            f"{each.format} on a block device" if each.is_block else f"a file in {each.format}"
            for each in (now, disk)
        ]
        yield "is {} now, the plan has {}".format(*kinds)


def _swap(disk: DiskPlan, fact: DiskFacts) -> Iterator[Finding]:
    """Nothing of a swap area is copied, so it has to be one."""
    about = f"disk {disk.target}"
    if fact.swap is None:
        yield problem(
            about,
            "the plan makes a new swap area of it and copies nothing, but none is seen on it",
            "remove swap_uuid and swap_label, and it is copied",
        )
    elif fact.swap.uuid != disk.swap_uuid:
        yield note(
            about,
            f"its swap area has the UUID {fact.swap.uuid}, the plan has {disk.swap_uuid}",
            "the UUID by which the guest names it (in /etc/fstab) as swap_uuid",
        )


def _nics(plan: ImportPlan, domain: Domain) -> Iterator[Finding]:
    """Addresses in the guest are found by the old MAC, and go to the NIC that has it."""
    there, planned = [nic.mac for nic in domain.nics], [nic.old_mac for nic in plan.nics]
    for mac in [mac for mac in there if mac not in planned]:
        yield note(f"NIC {mac}", "not in the plan: the instance has no such NIC", "intended?")
    for mac in [mac for mac in planned if mac not in there]:
        yield note(
            f"NIC {mac}",
            "the domain has none with this MAC address, old_mac of the plan",
            "make the plan anew, or correct old_mac",
        )
