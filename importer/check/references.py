"""What the guest's files name, and whether it is on the instance's disks. Pure."""

import re
from collections.abc import Iterator, Mapping

from converter.contents.guest_config import Reference, missing, references
from guest import fstab
from guest.hypervisor import root_disk
from importer.check.facts import CRYPTTAB, FSTAB, RESUME, Facts
from node.finding import Finding, note, ok, problem

_ABOUT = "file systems"
_FIX = "--fix"
# A disk's name that depends on its bus: /dev/sda1.
_DEVICE = re.compile(r"/dev/(?P<kind>sd|vd|xvd|hd)(?P<disk>[a-z])(?P<part>\d*)")
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
        if path not in ("/etc/network/interfaces",)
        for one in references(path, text)
    ]
    return missing(named, facts.tags)


def _finding(one: Reference, facts: Facts) -> Finding:
    what = f"{one.tag}={one.value}"
    text = f"{one.file}:{one.line}: {what} is not on the instance's disks"
    if facts.is_encrypted:
        return note(_ABOUT, f"{text}; it may be in an encrypted volume", "check it in the guest")
    if one.file == FSTAB and _is_swap(one):
        wait = "the boot waits 90 s for it"
        remedy = f"{_FIX}, or make a swap area with that UUID (mkswap --uuid)"
        return problem(_ABOUT, f"{text}: {wait}", remedy)
    if one.file == FSTAB:
        entry = next(iter(fstab.parsed(one.text)), None)
        options = entry.options.split(",") if entry else []
        if "nofail" in options or "noauto" in options:
            return note(_ABOUT, text, "the guest boots without it")
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


def _devices(facts: Facts) -> Iterator[Finding]:
    """Lines that name disks by a name that depends on the order and bus of the disks."""
    ours = root_disk(facts.instance).removeprefix("/dev/")[:-1]
    lines = [(FSTAB, entry.spec) for entry in fstab.parsed(facts.texts.get(FSTAB, ""))]
    lines += [(RESUME, value.strip()) for value in _RESUME.findall(facts.texts.get(RESUME, ""))]
    lines += [
        (CRYPTTAB, line.split()[1])
        for line in facts.texts.get(CRYPTTAB, "").splitlines()
        if len(line.split()) > 1 and not line.startswith("#")
    ]
    for path, spec in dict.fromkeys(lines):
        match = _DEVICE.fullmatch(spec)
        if match is None:
            continue
        number = ord(match["disk"]) - ord("a")
        remedy = "name it by UUID= in the guest (blkid)"
        if match["kind"] != ours:
            text = f"{path}: {spec}: the instance's disks are called /dev/{ours}*"
            yield problem(_ABOUT, text, remedy)
        elif number >= len(facts.disks):
            text = f"{path}: {spec}: the instance has {len(facts.disks)} disks"
            yield problem(_ABOUT, text, remedy)
        else:
            text = f"{path}: {spec} is disk {number} of the instance"
            yield note(_ABOUT, text, f"is it the same as before? If not, {remedy}")
