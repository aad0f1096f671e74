"""Guests for the checks, by what is known of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from converter.contents.describe import DiskReport
from converter.contents.partitions import Partition, Table
from importer.check.boot import BIOS_BOOT, ESP
from importer.check.facts import Facts, Kernel
from tests.unit.importer.renumber.guests import FIRST, instance

ROOT, SWAP, LOST = "aaaa-root", "bbbb-swap", "cccc-lost"
MIB = 1 << 20
GRUB = b"\xeb\x63".ljust(384, b"\x90") + b"GRUB \0"
HV = {"disk_type": "paravirtual", "serial_console": "True", "serial_speed": "115200"}

FSTAB = f"""# <file system> <mount point> <type> <options> <dump> <pass>
UUID={ROOT} /               ext4    errors=remount-ro 0       1
UUID={SWAP} none            swap    sw              0       0
"""
MENU = f"""set default=0
terminal_output console
menuentry 'Debian GNU/Linux' --class debian {{
\tsearch --no-floppy --fs-uuid --set=root {ROOT}
\tlinux\t/boot/vmlinuz-6.1.0-1-amd64 root=UUID={ROOT} ro quiet
\tinitrd\t/boot/initrd.img-6.1.0-1-amd64
}}
submenu 'Advanced' {{
\tlinux /boot/vmlinuz-6.1.0-1-amd64 root=UUID={ROOT} ro single console=ttyS0
}}
"""
FILES = {
    "/etc/fstab": FSTAB,
    "/etc/initramfs-tools/conf.d/resume": f"RESUME=UUID={SWAP}\n",
    "/etc/default/grub": 'GRUB_CMDLINE_LINUX=""\n',
    "/boot/grub/grub.cfg": MENU,
}
KERNEL = Kernel("6.1.0-1-amd64", frozenset({"virtio_pci"}), frozenset({"virtio_blk"}))


def sector(code: bytes = GRUB, behind: bytes = b"core") -> bytes:
    """The start of a disk with code in its first sector, and behind it."""
    return code.ljust(510, b"\0") + b"\x55\xaa" + behind.ljust(512, b"\0")


def disk(*types: str, kind: str = "gpt", warnings: tuple[str, ...] = ()) -> DiskReport:
    """A disk with partitions of these types."""
    parts = tuple(
        Partition(number, number * MIB, MIB, type_, f"part-{number}")
        for number, type_ in enumerate(types, 1)
    )
    table = Table(kind, 512, "disk", parts, warnings)
    return DiskReport(8 * MIB, table, (), (), None, ())


def facts(files: Mapping[str, str] = FILES, hv: Mapping[str, str] = HV, **changes: Any) -> Facts:
    """A guest in order, but for the changes."""
    found = Facts(
        instance=replace(instance(FIRST), hv=dict(hv)),
        disks=(disk(BIOS_BOOT, ESP, "root"), disk(kind="dos")),
        starts=(sector(), bytes(1024)),
        tags=frozenset({("UUID", ROOT), ("UUID", SWAP)}),
        swaps=frozenset({SWAP}),
        is_encrypted=False,
        texts=dict(files),
        kernel=KERNEL,
        loaders=None,
    )
    return replace(found, **changes)


def without(path: str) -> dict[str, str]:
    return {name: text for name, text in FILES.items() if name != path}
