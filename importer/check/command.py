"""Checks a guest with its disks read-only, then mends what was shown."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from converter.contents import gpt
from converter.extents import Kind
from converter.reading import Read
from guest.instance import Instance
from importer import editing
from importer.check import boot, console, drivers, look, references
from importer.check.facts import Facts
from importer.editing import Edit
from importer.renumber.command import require_free
from installer.rename import guest_in_appliance
from node.devices.claim import claimed
from node.errors import KitError
from node.files import write_at
from node.finding import Finding, note
from node.log import log


@dataclass(frozen=True)
class Checked:
    """The findings; what would mend them: edits, and the numbers of disks whose GPT is adapted."""

    findings: tuple[Finding, ...]
    edits: tuple[Edit, ...]
    tables: tuple[int, ...]


def check(disks: list[Path], instance: Instance) -> Checked:
    """Checks a guest; writes nothing.

    Raises:
        KitError: a disk is in use, or the guest has no readable system.
    """
    require_free(disks)
    reports, starts = look.disks(disks)
    with guest_in_appliance(disks, instance, read_only=True) as files:
        return decide(look.facts(files, instance, reports, starts))


def decide(facts: Facts) -> Checked:
    """The findings and what mends them. Pure."""
    findings = (
        *references.check(facts),
        *boot.check(facts),
        *drivers.check(facts),
        *console.check(facts),
        *(note("file systems", f"{each}: not mounted", "see fstab") for each in facts.unmounted),
    )
    edits = tuple(Edit(path, facts.texts.get(path), text) for path, text in _mended(facts).items())
    tables = tuple(n for n, disk in enumerate(facts.disks) if boot.mendable(disk))
    return Checked(findings, edits, tables)


def mend(disks: list[Path], instance: Instance, checked: Checked, stamp: str) -> None:
    """Writes what was shown.

    Raises:
        KitError: a disk is in use, a file has changed since, or a GPT cannot be adapted.
    """
    for number in checked.tables:
        _adapt_table(number, disks[number])
    require_free(disks)
    if not checked.edits:
        return
    with guest_in_appliance(disks, instance) as files:
        for each in look.mount(files, write=True):
            log.warning("%s: not mounted", each)
        editing.write(files, checked.edits, stamp)


def _mended(facts: Facts) -> Mapping[str, str]:
    """The new texts; each step sees those of the one before."""
    found: dict[str, str] = {}
    for step in (references.fixed, console.fixed):
        found |= step(replace(facts, texts={**facts.texts, **found}))
    return {path: text for path, text in found.items() if facts.texts.get(path) != text}


def _adapt_table(number: int, path: Path) -> None:
    """Moves the backup of a GPT to the disk's end, or makes it anew.

    Raises:
        KitError: the table is doubtful, or the disk is in use or cannot be written.
    """
    with claimed(path, readers_allowed=True) as disk:

        def read(offset: int, length: int) -> bytes:
            return os.pread(disk.fd, length, offset)

        stated = _size_of_table(read, disk.size)
        repair = gpt.repaired(read, stated, disk.size) if stated else None
        if repair is None or not repair.extents:
            why = repair.why if repair else "its GPT is not that of a smaller disk"
            raise KitError(f"disk {number}: {why}", hint=f"sgdisk --move-second-header {path}")
        try:
            for extent in repair.extents:
                content = extent.literal if extent.kind is Kind.LITERAL else bytes(extent.length)
                write_at(disk.fd, content, extent.guest_offset)
            os.fsync(disk.fd)
        except OSError as error:
            raise KitError(
                f"GPT of disk {number} ({path}): {error.strerror}",
                hint="see dmesg for errors of its device, then check --fix again",
            ) from error
        log.info("disk %d: %s", number, repair.why)


def _size_of_table(read: Read, size: int) -> int | None:
    """The size of the disk that a GPT was made for, bytes; None if it is this one's."""
    found = gpt.copies(read, size)
    if found is None or found.primary is None:
        return None
    stated = (found.primary.other + 1) * found.primary.sector
    return stated if stated < size else None
