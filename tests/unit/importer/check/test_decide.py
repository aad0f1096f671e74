"""What is found in guests, and what would mend it, against tests/data/golden/check.

After a wanted change: GOLDEN_WRITE=1 pytest …, and read the diff.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from importer.check.boot import ESP
from importer.check.command import decide
from importer.check.facts import Facts, Kernel
from importer.editing import as_diff
from node.finding import OK, PROBLEM, as_text
from tests.unit.importer.check.checked import (
    FILES,
    FSTAB,
    HV,
    LOST,
    MENU,
    ROOT,
    SWAP,
    disk,
    facts,
    sector,
    without,
)

GOLDEN = Path(__file__).parents[3] / "data/golden/check"
UEFI = {**HV, "kvm_extra": "-bios /usr/share/ovmf/OVMF.fd"}
OTHER_SWAP = {"tags": frozenset({("UUID", ROOT), ("UUID", LOST)}), "swaps": frozenset({LOST})}
SERIAL = MENU.replace("terminal_output console", "terminal_output console serial").replace(
    "ro quiet", "ro quiet console=ttyS0,115200n8"
)
ENTRY = f"""title Linux
version 6.1.0-1-amd64
linux /vmlinuz-6.1.0-1-amd64
initrd /initrd.img-6.1.0-1-amd64
options root=UUID={ROOT} ro quiet
"""

GUESTS: dict[str, Facts] = {
    "in-order": facts({**FILES, "/boot/grub/grub.cfg": SERIAL}),
    "no-console": facts(),
    "another-swap": facts(**OTHER_SWAP),
    "no-swap": facts(tags=frozenset({("UUID", ROOT)}), swaps=frozenset()),
    "encrypted": facts(is_encrypted=True, tags=frozenset(), swaps=frozenset()),
    "lost-root": facts(tags=frozenset({("UUID", SWAP)})),
    "lost-data": facts(
        {
            **FILES,
            "/etc/fstab": f"{FSTAB}UUID={LOST} /srv ext4 defaults 0 2\n"
            f"LABEL=usb /media/usb vfat noauto 0 0\n",
            "/etc/crypttab": f"vault UUID={LOST} none luks\n",
        }
    ),
    "other-system": facts(
        {
            **FILES,
            "/boot/grub/grub.cfg": f"{SERIAL}menuentry 'Other' {{\n"
            f"search --fs-uuid --set=root {LOST}\n}}\n",
        }
    ),
    "devices": facts(
        {
            **FILES,
            "/etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n/dev/vdc none swap sw 0 0\n"
            "/dev/vdb /srv xfs defaults\n",
            "/etc/initramfs-tools/conf.d/resume": "RESUME=/dev/sda5\n",
        }
    ),
    "no-fstab": facts(without("/etc/fstab")),
    "loader-on-disk-1": facts(starts=(bytes(1024), sector())),
    "no-loader": facts(disks=(disk("root"),), starts=(bytes(1024),)),
    "uefi-in-bios": facts(disks=(disk(ESP, "root"),), starts=(bytes(1024),)),
    "no-bios-boot": facts(disks=(disk("root"),), starts=(sector(),)),
    "no-core": facts(disks=(disk("0x83", kind="dos"),), starts=(sector(behind=b""),)),
    "other-loader": facts(disks=(disk("0x83", kind="dos"),), starts=(sector(b"LILO", b""),)),
    "uefi": facts(hv=UEFI, loaders=("/boot/efi/EFI/BOOT/BOOTX64.EFI",)),
    "uefi-no-fallback": facts(hv=UEFI, loaders=("/boot/efi/EFI/debian/grubx64.efi",)),
    "uefi-pflash": facts(
        hv={**HV, "kvm_extra": "-drive if=pflash,format=raw,unit=1,file=/var/lib/vars"},
        loaders=("/boot/efi/EFI/debian/grubx64.efi",),
    ),
    "scsi": facts(
        hv={**HV, "disk_type": "scsi-hd", "scsi_controller_type": "virtio-scsi-pci"},
        kernel=Kernel("6.1", frozenset({"virtio_pci"}), frozenset({"virtio_blk"})),
    ),
    "uefi-without-esp": facts(hv=UEFI, disks=(disk("root"),), starts=(sector(),)),
    "gpt": facts(disks=(disk(ESP, warnings=("GPT: its backup copy is not at the disk's end",)),)),
    "gpt-damaged": facts(
        disks=(disk(ESP, warnings=("GPT: its backup copy is damaged or missing",)),)
    ),
    "no-drivers": facts(kernel=Kernel("5.10", frozenset(), frozenset({"virtio_net"}))),
    "unread": facts(kernel=Kernel("5.4", frozenset(), None, "it is compressed by lz4")),
    "no-kernel": facts(kernel=None),
    "ide": facts(hv={**HV, "disk_type": "ide"}, kernel=None),
    "sysvinit": facts({**FILES, "/etc/inittab": "1:2345:respawn:/sbin/getty 38400 tty1\n"}),
    "vnc": facts(hv={**HV, "serial_console": "False"}),
    "grub2": facts({**without("/boot/grub/grub.cfg"), "/boot/grub2/grub.cfg": MENU}),
    "grub2-entries": facts(
        {
            **without("/boot/grub/grub.cfg"),
            "/boot/grub2/grub.cfg": "set default=0\nblscfg\n",
            "/boot/loader/entries/a.conf": ENTRY,
            "/boot/loader/entries/b.conf": ENTRY.replace("quiet", "console=ttyS0,115200n8"),
        }
    ),
    "systemd-boot": facts(
        {
            **without("/boot/grub/grub.cfg"),
            "/boot/loader/entries/a.conf": ENTRY.replace(ROOT, LOST),
        }
    ),
    "entries-not-read": facts({**FILES, "/boot/loader/entries/a.conf": ENTRY}),
    "no-menu": facts(without("/boot/grub/grub.cfg")),
}


@pytest.mark.parametrize("name", GUESTS)
def test_golden(name: str) -> None:
    checked = decide(GUESTS[name])
    tables = [f"GPT of disk {number}" for number in checked.tables]
    text = "\n".join([as_text(checked.findings), *tables, as_diff(checked.edits), ""])
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN_WRITE"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", GUESTS)
def test_what_is_mended_is_found_no_more(name: str) -> None:
    before = GUESTS[name]
    checked = decide(before)
    mended = {**before.texts, **{edit.path: edit.new for edit in checked.edits}}
    again = decide(replace(before, texts=mended))
    assert again.edits == ()
    promised = [found for found in checked.findings if "--fix" in found.remedy]
    left = [found for found in again.findings if found in promised]
    assert all(found.about == "partition table" for found in left)


def test_a_guest_in_order_has_no_other_findings() -> None:
    assert {found.level for found in decide(GUESTS["in-order"]).findings} == {OK}


def test_a_missing_root_is_a_problem() -> None:
    found = decide(GUESTS["lost-root"]).findings
    assert any(each.level == PROBLEM and "/boot/grub/grub.cfg" in each.text for each in found)


def test_a_command_of_the_menu_over_two_lines_is_left_as_it_is() -> None:
    """Behind the backslash, an option would separate the kernel from its root."""
    line = "\tlinux /boot/vmlinuz \\\n\t\troot=UUID=x ro\n"
    first = facts(FILES | {"/boot/grub/grub.cfg": f"menuentry a {{\n{line}}}\n"})
    (edit, *_) = decide(first).edits
    assert edit.path == "/boot/grub/grub.cfg" and line in edit.new


HOSTILE = {
    "ends-of-lines": "\n" * 200_000,
    "blanks": "linux " + " " * 200_000 + "\\",
    "value": "RESUME=x" + " " * 200_000 + "x",
    "words": ":respawn:" * 20_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_searched_in_time(text: str) -> None:
    """With `^\\s*` or two blanks in a row, a search would take minutes to days."""
    began = time.process_time()
    for path in (*FILES, "/etc/inittab"):
        decide(facts(FILES | {path: text}))
    assert time.process_time() - began < 30
