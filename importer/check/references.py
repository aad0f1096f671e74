"""What the guest's files name, and whether it is on the instance's disks. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from converter.contents.guest_config import Reference, missing, references
from guest import fstab
from guest.hypervisor import root_disk
from importer.check.facts import CRYPTTAB, DEBCONF, FSTAB, RESUME, Facts
from node.finding import Finding, note, ok, problem

_ABOUT = "file systems"
_FIX = "--fix"
_BY_UUID = "name it by UUID= in the guest (blkid)"
_RECONFIGURE = "dpkg-reconfigure grub-pc in the guest: its next update installs GRUB there"
# A disk's name that depends on its bus: /dev/sda1.
_DEVICE = re.compile(r"/dev/(?P<kind>sd|vd|xvd|hd)(?P<disk>[a-z])(?P<part>\d*)")
# By serial numbers and PCI slots; but not those of LVM, device mapper and RAID.
_OF_MACHINE = re.compile(r"/dev/disk/by-(?:id/(?!dm-|lvm-|md-)|path/)")
_KERNEL = re.compile(r"^[^\S\n]*(?:linux(?:16|efi)?|options)[^\S\n]+(.*)$", re.MULTILINE)
_ROOT = re.compile(r"\b(?:root|resume)=(/dev/[^\s\"']+)")
_INSTALLED = re.compile(
    r"^Name: grub-pc/install_devices\n(?:[^\n]+\n){0,20}?Value: ([^\n]+)$", re.MULTILINE
)
_RESUME = re.compile(r"^[^\S\n]*RESUME[^\S\n]*=(.*)$", re.MULTILINE)


def check(facts: Facts) -> Iterator[Finding]:
    """Findings of missing UUIDs and labels, and of disks whose names have changed."""
    found = list(absent(facts))
    for one in found:
        yield _finding(one, facts)
    devices = list(_devices(facts))
    yield from devices
    if FSTAB not in facts.texts:
        yield note(_ABOUT, f"no {FSTAB} was found", "is the root file system on these disks?")
    elif not found and not devices:
        yield ok(_ABOUT, "all that the guest's files name are on the instance's disks")


def fixed(facts: Facts) -> Mapping[str, str]:
    """The new texts of fstab and of RESUME's file, where a missing swap area is named.

    If exactly one is missing, and one swap area is not in fstab, that one takes its place.
    """
    if facts.is_encrypted:
        return {}
    gone = {one.value for one in absent(facts) if one.file == FSTAB and _is_swap(one)}
    named = {one.value.lower() for one in references(FSTAB, facts.texts.get(FSTAB, ""))}
    free = sorted(uuid for uuid in facts.swaps if uuid.lower() not in named)
    spare = free[0] if len(free) == 1 and len(gone) == 1 else None
    texts: dict[str, str] = {}
    if gone:
        lines = facts.texts[FSTAB].splitlines(keepends=True)
        texts[FSTAB] = "".join(_swap_line(line, gone, spare) for line in lines)
    resume = facts.texts.get(RESUME, "")
    if any(one.file == RESUME for one in absent(facts)):
        target = spare or (min(facts.swaps) if len(facts.swaps) == 1 else None)
        value = f"UUID={target}" if target else "none"
        texts[RESUME] = _RESUME.sub(f"RESUME={value}", resume)
    return texts


def absent(facts: Facts) -> list[Reference]:
    """The references to what is not on the disks."""
    named = [
        one
        for path, text in facts.texts.items()
        if path != DEBCONF
        for one in references(path, text)
    ]
    return missing(named, facts.tags)


def _finding(one: Reference, facts: Facts) -> Finding:
    what = f"{one.tag}={one.value}"
    text = f"{one.file}:{one.line}: {what} is not on the instance's disks"
    if facts.is_encrypted:
        return note(_ABOUT, f"{text}; it may be in an encrypted volume", "check it in the guest")
    entry = next(iter(fstab.parsed(one.text)), None) if one.file == FSTAB else None
    if entry and _is_optional(entry):
        return note(_ABOUT, text, "the guest boots without it")
    if one.file == FSTAB and _is_swap(one):
        wait = "the boot waits 90 s for it"
        remedy = f"{_FIX}, or make a swap area with that UUID (mkswap --uuid)"
        return problem(_ABOUT, f"{text}: {wait}", remedy)
    if one.file == FSTAB:
        return problem(_ABOUT, f"{text}: the boot ends in a shell", "add the disk, or nofail")
    if one.file == RESUME:
        return problem(
            _ABOUT,
            f"{text}: the initramfs waits for it",
            f"{_FIX}, and after the boot: update-initramfs -u",
        )
    if one.file == CRYPTTAB:
        return problem(_ABOUT, f"{text}: the boot waits for it", "correct the line in the guest")
    if one.file.startswith(("/etc/default/", "/etc/kernel/", "/etc/initramfs-tools/")):
        return note(_ABOUT, text, "correct the line in the guest, then update-grub")
    if one.file == facts.menu and one.line >= _second_entry(facts.texts[one.file]):
        return note(_ABOUT, f"{text}; it is in another entry than the first", "update-grub")
    return problem(
        _ABOUT, f"{text}: it does not boot", "boot the source, and run update-grub there"
    )


def _second_entry(menu: str) -> int:
    """The line of the menu's second entry, which does not boot by itself."""
    entries = [
        number
        for number, line in enumerate(menu.splitlines(), 1)
        if line.split()[:1] in (["menuentry"], ["submenu"])
    ]
    return entries[1] if len(entries) > 1 else len(menu) + 1


def _is_swap(one: Reference) -> bool:
    return any(entry.fstype == "swap" for entry in fstab.parsed(one.text))


def _swap_line(line: str, gone: set[str], spare: str | None) -> str:
    found = [one for one in references(FSTAB, line) if one.value in gone and _is_swap(one)]
    if not found:
        return line
    if spare is None or found[0].tag != "UUID":
        return f"# not on this instance's disks: {line}"
    return line.replace(found[0].value, spare)


class _Named(NamedTuple):
    """A device that a file names, and whether the guest boots without it."""

    path: str
    spec: str
    is_optional: bool = False


def _devices(facts: Facts) -> Iterator[Finding]:
    """Lines that name disks by a name that depends on their order, their bus or the machine."""
    ours = root_disk(facts.instance).removeprefix("/dev/")[:-1]
    for path, spec, is_optional in dict.fromkeys(_named(facts)):
        remedy = _RECONFIGURE if path == DEBCONF else _BY_UUID
        level = note if is_optional else problem
        if _OF_MACHINE.match(spec):
            yield level(_ABOUT, f"{path}: {spec}: another machine has other names", remedy)
            continue
        match = _DEVICE.fullmatch(spec)
        if match is None:
            continue
        number = ord(match["disk"]) - ord("a")
        if match["kind"] != ours:
            text = f"{path}: {spec}: the instance's disks are called /dev/{ours}*"
            yield level(_ABOUT, text, remedy)
        elif number >= len(facts.disks):
            text = f"{path}: {spec}: the instance has {len(facts.disks)} disks"
            yield level(_ABOUT, text, remedy)
        elif path != DEBCONF or number:
            text = f"{path}: {spec} is disk {number} of the instance"
            yield note(_ABOUT, text, f"is it the same as before? If not, {remedy}")


def _named(facts: Facts) -> Iterator[_Named]:
    for entry in fstab.parsed(facts.texts.get(FSTAB, "")):
        yield _Named(FSTAB, entry.spec, _is_optional(entry))
    for value in _RESUME.findall(facts.texts.get(RESUME, "")):
        yield _Named(RESUME, value.strip())
    for line in facts.texts.get(CRYPTTAB, "").splitlines():
        if len(line.split()) > 1 and not line.startswith("#"):
            yield _Named(CRYPTTAB, line.split()[1])
    menu = facts.texts.get(facts.menu, "")
    first = "\n".join(menu.splitlines()[: _second_entry(menu) - 1])
    for path, text in {facts.menu: first, **facts.entries}.items():
        for options in _KERNEL.findall(text):
            yield from (_Named(path, spec) for spec in _ROOT.findall(options))
    installed = _INSTALLED.search(facts.texts.get(DEBCONF, ""))
    for spec in installed[1].split(",") if installed and not facts.is_uefi else ():
        yield _Named(DEBCONF, spec.strip(), is_optional=True)


def _is_optional(entry: fstab.Entry) -> bool:
    return bool({"nofail", "noauto"} & set(entry.options.split(",")))
