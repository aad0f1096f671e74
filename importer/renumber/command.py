"""Renumbers a guest: reviews it with its disks read-only, then writes what was shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guest.instance import Instance
from guest.resolv import Resolver
from importer import editing
from importer.renumber import mentions, report, survey
from importer.renumber.mentions import Mentions
from importer.renumber.survey import Proposal
from installer.rename import guest_in_appliance
from node.devices.claim import claimed


@dataclass(frozen=True)
class Review:
    """What would be changed, and where else old addresses are."""

    proposal: Proposal
    mentions: Mentions


def review(
    disks: list[Path],
    instance: Instance,
    *,
    old_macs: Mapping[int, str],
    chosen: Mapping[int, str],
    static: Resolver | None,
    srv: bool,
) -> Review:
    """Reads the guest; see `survey.propose` and `mentions.search` for the arguments.

    Raises:
        KitError: a disk is in use, the guest has no readable system, or it is not certain what
            must change.
    """
    require_free(disks)
    with guest_in_appliance(disks, instance, read_only=True) as files:
        proposal = survey.propose(
            survey.read(files), instance, old_macs=old_macs, chosen=chosen, static=static
        )
        lost = report.old_addresses(proposal.changes)
        return Review(proposal, mentions.search(files, lost, proposal.edits, srv=srv))


def apply(disks: list[Path], instance: Instance, proposal: Proposal, stamp: str) -> None:
    """Writes what was reviewed.

    Raises:
        KitError: a disk is in use, or a file has changed since.
    """
    require_free(disks)
    with guest_in_appliance(disks, instance) as files:
        editing.write(files, proposal.edits, stamp)


def require_free(disks: list[Path]) -> None:
    """Refuses disks that somebody may write to; from then on, QEMU's own locks protect them.

    Whoever only reads a disk, such as monitoring, does not matter.

    Raises:
        KitError: one is in use.
    """
    for disk in disks:
        with claimed(disk, readers_allowed=True):
            pass
