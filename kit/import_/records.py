"""What the journal of an import has of a guest; an instance may have none on this node."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from importer import journal
from importer.journal import DIRECTORY, NicAddresses, Step
from importer.plan.file import PlanInvalid, parse
from importer.renumber.model import Change
from node.log import log


def old_macs(instance: str, directory: Path = DIRECTORY) -> dict[int, str]:
    """The MAC addresses that the NICs had in the domain, by NIC; empty without a journal.

    Raises:
        KitError: the journal cannot be read.
    """
    if instance not in journal.imports(directory):
        return {}
    try:
        nics = parse(journal.read(instance, directory).plan).nics
    except PlanInvalid as error:
        log.warning("plan of %s in its journal: %s", instance, error)
        return {}
    return {index: nic.old_mac.lower() for index, nic in enumerate(nics)}


def renumbering(instance: str, changes: Sequence[Change], directory: Path = DIRECTORY) -> None:
    """Notes old and new addresses, before they are written: a rerun does not find the old ones.

    Raises:
        KitError: the journal cannot be written, or another command works on the import.
    """
    if instance not in journal.imports(directory):
        return
    found = [_addresses(change) for change in changes]
    with journal.opened(instance, directory) as record:
        known = {nic.nic: nic for nic in record.read().addresses}
        kept = tuple(_first(known.get(nic.nic), nic) for nic in found)
        record.update(lambda state: replace(state, addresses=kept))


def completed(instance: str, step: Step, directory: Path = DIRECTORY) -> None:
    """Notes that a step is done.

    Raises:
        KitError: as `renumbering`.
    """
    if instance in journal.imports(directory):
        with journal.opened(instance, directory) as record:
            record.completed(step)


def _first(known: NicAddresses | None, found: NicAddresses) -> NicAddresses:
    """What an earlier run has noted of a NIC, unless the new addresses are others by now."""
    return known if known and set(known.new) == set(found.new) else found


def _addresses(change: Change) -> NicAddresses:
    return NicAddresses(
        change.index,
        tuple(str(address.ip) for address in change.old),
        tuple(str(address.ip) for address in change.config.addresses),
    )
