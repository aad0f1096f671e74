"""Whether the firmware finds a boot loader on disk 0, and the partition tables are whole. Pure."""

from collections.abc import Iterator

from converter.contents.describe import DiskReport
from importer.check.facts import CODE, Facts
from node.finding import Finding, note, ok, problem

_LOADER = "boot loader"
_TABLE = "partition table"
# Types of partitions (UEFI specification; GRUB's BIOS boot partition).
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
_ESP_MBR = "0xef"
FALLBACK = ("bootx64.efi", "bootia32.efi", "bootaa64.efi")
_SECTOR = 512
_GRUB = b"GRUB "


def check(facts: Facts) -> Iterator[Finding]:
    """Findings of the boot loader, and of each disk's GPT."""
    yield _uefi(facts) if facts.is_uefi else _bios(facts)
    for index, disk in enumerate(facts.disks):
        yield from _table(index, disk)


def mendable(disk: DiskReport) -> bool:
    """Whether the GPT's backup is not at the disk's end, but somewhere else."""
    warnings = disk.table.warnings if disk.table else ()
    return any("not at the disk's end" in warning for warning in warnings)


def _bios(facts: Facts) -> Finding:
    loaders = [index for index in range(len(facts.disks)) if _has_code(facts.starts[index])]
    disk, start = facts.disks[0], facts.starts[0]
    if 0 not in loaders:
        elsewhere = ", ".join(map(str, loaders))
        if elsewhere:
            return problem(
                _LOADER,
                f"disk 0 has none, and BIOS starts that disk; disk {elsewhere} has one",
                "make that disk number 0: " + _first(loaders[0], facts.instance.name),
            )
        remedy = "instance-kit shell --write, then grub-install in a chroot"
        if esp(disk) is not None:
            return problem(
                _LOADER,
                "disk 0 has one for UEFI only, and Ganeti starts a BIOS",
                "gnt-instance modify -H kvm_extra='-bios /usr/share/ovmf/OVMF.fd'",
            )
        return problem(_LOADER, "no disk has one", remedy)
    if disk.table and disk.table.kind == "gpt" and _GRUB in start[:CODE]:
        if not any(part.type == BIOS_BOOT for part in disk.table.partitions):
            return problem(
                _LOADER,
                "disk 0 has GRUB's first sector, and no BIOS boot partition with the rest of it",
                "is it a machine for UEFI? gnt-instance modify -H kvm_extra='-bios"
                " /usr/share/ovmf/OVMF.fd'",
            )
    elif _GRUB in start[:CODE] and not any(start[_SECTOR : 2 * _SECTOR]):
        return problem(
            _LOADER,
            "disk 0 has GRUB's first sector, but nothing behind it",
            "instance-kit shell --write, then grub-install in a chroot",
        )
    return ok(_LOADER, "disk 0 has code for BIOS")


def _first(number: int, name: str) -> str:
    """Commands that make a disk the first one: the instance keeps all of them."""
    uuid = f"$(gnt-instance list --no-headers -o disk.uuid/{number} {name})"
    modify = "gnt-instance modify --disk"
    return f"uuid={uuid}; {modify} {number}:detach {name}; {modify} 0:attach,uuid=$uuid {name}"


def _uefi(facts: Facts) -> Finding:
    if esp(facts.disks[0]) is None:
        return problem(
            _LOADER,
            "disk 0 has no EFI system partition, and the instance has UEFI",
            "gnt-instance modify -H kvm_extra= starts a BIOS",
        )
    if facts.loaders is None:
        return note(_LOADER, "the EFI system partition could not be read", "see /etc/fstab")
    if not any(path.lower().endswith(FALLBACK) for path in facts.loaders):
        text = "the EFI system partition has no EFI/BOOT/BOOTX64.EFI"
        remedy = "grub-install --removable in the guest"
        if "pflash" in facts.instance.hv.get("kvm_extra", ""):
            return note(_LOADER, f"{text}: only the source's variables of UEFI start it", remedy)
        return problem(_LOADER, f"{text}, and the instance has no variables of UEFI", remedy)
    return ok(_LOADER, "disk 0 has an EFI system partition with EFI/BOOT/BOOTX64.EFI")


def esp(disk: DiskReport) -> int | None:
    """The number of the EFI system partition; None if there is none."""
    for part in disk.table.partitions if disk.table else ():
        if part.type in (ESP, _ESP_MBR):
            return part.number
    return None


def _has_code(start: bytes) -> bool:
    return start[510:512] == b"\x55\xaa" and any(start[:CODE])


def _table(index: int, disk: DiskReport) -> Iterator[Finding]:
    if disk.table is None:
        return
    warnings = [warning for warning in disk.table.warnings if warning.startswith("GPT")]
    for warning in warnings:
        remedy = "--fix" if mendable(disk) else "sgdisk --verify"
        yield problem(_TABLE, f"disk {index}: {warning}", remedy)
    if not warnings and disk.table.kind == "gpt":
        yield ok(_TABLE, f"disk {index}: both copies of its GPT are right")
