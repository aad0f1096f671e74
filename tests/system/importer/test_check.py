"""Checking and mending a guest that is made by hand, in a real appliance."""

import dataclasses
import gzip
import subprocess
from pathlib import Path

import pytest

from guest.instance import Instance
from importer.check import command
from importer.check.command import Checked
from node import guest_files
from node.finding import PROBLEM
from tests.system.installer.support import MIB, output
from tests.unit.importer.check.checked import GRUB, HV
from tests.unit.importer.check.test_cpio import MICROCODE, entry
from tests.unit.importer.renumber.guests import FIRST, instance

ROOT = "0a0a0a0a-0000-4000-8000-000000000001"
SWAP = "0b0b0b0b-0000-4000-8000-000000000002"
BOOT = "0d0d0d0d-0000-4000-8000-000000000004"
LOST = "0c0c0c0c-0000-4000-8000-000000000003"
VERSION = "6.1.0-1-amd64"
MENU = f"""terminal_output console
menuentry 'Debian' {{
\tsearch --no-floppy --fs-uuid --set=root {ROOT}
\tlinux /boot/vmlinuz-{VERSION} root=UUID={ROOT} ro quiet
}}
"""
TABLE = """label: gpt
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649
start=2MiB, size=96MiB
"""


@pytest.fixture
def described() -> Instance:
    return dataclasses.replace(instance(FIRST), hv={**HV, "kvm_flag": "disabled"})


def initramfs(module: str) -> bytes:
    """One as mkinitramfs makes it: microcode, then the packed rest."""
    names = [f"usr/lib/modules/{VERSION}/kernel/drivers/{module}.ko", "init"]
    rest = b"".join(entry(name, b"x" * 999) for name in names) + entry("TRAILER!!!")
    packed = subprocess.run(["zstd", "-q"], input=rest, capture_output=True, check=True)
    return MICROCODE + packed.stdout


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    """A GPT of a smaller disk, fstab and RESUME with a swap area that is not there."""
    tree = tmp_path / "tree"
    texts = {
        "etc/os-release": "ID=debian\n",
        "etc/fstab": f"UUID={ROOT} / ext4 defaults 0 1\nUUID={LOST} none swap sw 0 0\n",
        "etc/initramfs-tools/conf.d/resume": f"RESUME=UUID={LOST}\n",
        "etc/default/grub": 'GRUB_CMDLINE_LINUX=""\n',
        "boot/grub/grub.cfg": MENU,
        f"lib/modules/{VERSION}/modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
    }
    for path, text in texts.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / f"boot/vmlinuz-{VERSION}").write_bytes(b"")
    (tree / f"boot/initrd.img-{VERSION}").write_bytes(initramfs("block/virtio_blk"))
    root, disk, swap = (tmp_path / name for name in ("root", "disk", "swap"))
    with root.open("wb") as file:
        file.truncate(96 * MIB)
    output("mke2fs", "-q", "-F", "-t", "ext4", "-U", ROOT, "-d", tree, root)
    with disk.open("wb") as file:
        file.truncate(100 * MIB)
    subprocess.run(["sfdisk", "-q", str(disk)], input=TABLE, text=True, check=True)
    with disk.open("r+b") as file:
        file.write(GRUB)
        file.seek(2 * MIB)
        file.write(root.read_bytes())
        file.truncate(104 * MIB)
    with swap.open("wb") as file:
        file.truncate(16 * MIB)
    output("mkswap", "-U", SWAP, swap)
    root.unlink()
    return [disk, swap]


def test_a_guest_with_uefi(tmp_path: Path, described: Instance) -> None:
    """Its ESP is mounted in the appliance, and /boot is a file system of its own."""
    table = """label: gpt
start=1MiB, size=40MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=41MiB, size=32MiB
start=73MiB, size=32MiB
"""
    fstab = f"UUID={ROOT} / ext4 defaults 0 1\nUUID={BOOT} /boot ext4 defaults 0 2\n"
    fstab += "UUID=1234-ABCD /boot/efi vfat umask=0077 0 1\n"
    root = tree(tmp_path / "root", {"etc/os-release": "ID=debian\n", "etc/fstab": fstab})
    (root / "boot").mkdir()
    menu = MENU.replace("/boot/vmlinuz", "/vmlinuz")
    boot = tree(tmp_path / "boot", {"grub/grub.cfg": menu, f"vmlinuz-{VERSION}": ""})
    (boot / "efi").mkdir()
    (boot / f"initrd.img-{VERSION}").write_bytes(initramfs("block/virtio_blk"))
    esp, disk = tmp_path / "esp", tmp_path / "disk"
    for path, size in ((esp, 40), (disk, 106)):
        with path.open("wb") as file:
            file.truncate(size * MIB)
    output("mformat", "-i", esp, "-N", "1234abcd", "-F", "::")
    output("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    (tmp_path / "loader").write_bytes(b"MZ")
    output("mcopy", "-i", esp, tmp_path / "loader", "::/EFI/BOOT/BOOTX64.EFI")
    subprocess.run(["sfdisk", "-q", str(disk)], input=table, text=True, check=True)
    with disk.open("r+b") as file:
        for place, content in (
            (1, esp),
            (41, made(tmp_path / "r", ROOT, root)),
            (73, made(tmp_path / "b", BOOT, boot)),
        ):
            file.seek(place * MIB)
            file.write(content.read_bytes())
    uefi = {**described.hv, "kvm_extra": "-bios /usr/share/ovmf/OVMF.fd"}
    instance_ = dataclasses.replace(described, hv=uefi)
    first = command.check([disk], instance_)
    assert [f"{one.level} {one.text}" for one in first.findings if one.about == "boot loader"] == [
        "ok disk 0 has an EFI system partition with EFI/BOOT/BOOTX64.EFI"
    ]
    assert [one.text for one in first.findings if one.about == "drivers"] == [
        f"initramfs of {VERSION}: it lacks virtio_pci: the root is not found"
    ]
    assert [edit.path for edit in first.edits] == ["/boot/grub/grub.cfg"]
    command.mend([disk], instance_, first, "now")
    again = command.check([disk], instance_)
    assert again.edits == ()  # it was written to the file system of /boot


def test_an_initramfs_that_cannot_be_unpacked(tmp_path: Path, described: Instance) -> None:
    """That it lacks drivers would be a guess."""
    root = tree(tmp_path / "root", {"etc/os-release": "ID=debian\n", f"boot/vmlinuz-{VERSION}": ""})
    packed = bytearray(initramfs("block/virtio_blk"))
    packed[len(MICROCODE) + 4 :] = b"\xff" * 64
    (root / f"boot/initrd.img-{VERSION}").write_bytes(packed)
    checked = command.check([made(tmp_path / "disk", ROOT, root)], described)
    assert [f"{one.level} {one.text}" for one in checked.findings if one.about == "drivers"] == [
        f"note initramfs of {VERSION}: it cannot be read, or not in time"
    ]


def tree(top: Path, texts: dict[str, str]) -> Path:
    for path, text in texts.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    return top


def made(path: Path, uuid: str, content: Path) -> Path:
    """A file system of 32 MiB."""
    with path.open("wb") as file:
        file.truncate(32 * MIB)
    output("mke2fs", "-q", "-F", "-t", "ext4", "-U", uuid, "-d", content, path)
    return path


def problems(checked: Checked) -> list[str]:
    return [f"{one.about}: {one.text}" for one in checked.findings if one.level == PROBLEM]


def test_a_guest_is_mended(disks: list[Path], described: Instance) -> None:
    before = [disk.read_bytes() for disk in disks]
    first = command.check(disks, described)
    assert [disk.read_bytes() for disk in disks] == before  # a check writes nothing
    missing = f"UUID={LOST} is not on the instance's disks"
    assert problems(first) == [
        f"file systems: /etc/fstab:2: {missing}: the boot waits 90 s for it",
        "file systems: /etc/initramfs-tools/conf.d/resume:1:"
        f" {missing}: the initramfs waits for it",
        "partition table: disk 0: GPT: its backup copy is not at the disk's end",
    ]
    assert f"kernel {VERSION} has virtio_pci and virtio_blk" in [one.text for one in first.findings]

    command.mend(disks, described, first, "20260101T000000Z")
    again = command.check(disks, described)
    assert problems(again) == []
    assert (again.edits, again.tables) == ((), ())
    assert "No problem" in output("sgdisk", "-v", disks[0]) or "No errors" in output(
        "sfdisk", "--verify", disks[0]
    )
    root = disks[0].parent / "again"
    with disks[0].open("rb") as file:
        file.seek(2 * MIB)
        root.write_bytes(file.read(96 * MIB))
    assert f"UUID={SWAP} none swap" in output("debugfs", "-R", "cat /etc/fstab", root)
    kept = "/etc/ganeti-instance-kit/before-20260101T000000Z/etc/fstab"
    assert f"UUID={LOST} none swap" in output("debugfs", "-R", f"cat {kept}", root)
    menu = output("debugfs", "-R", "cat /boot/grub/grub.cfg", root)
    assert "ro quiet console=tty0 console=ttyS0,115200n8\n" in menu
    root.unlink()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (initramfs("net/virtio_net"), "it lacks virtio_blk: the root is not found"),
        (b"nonsense", "it is damaged, or of an unknown kind"),
        (MICROCODE + b"\x02\x21\x4c\x18...", "it is compressed by lz4"),
    ],
    ids=["lacking", "nonsense", "lz4"],
)
def test_an_initramfs(disks: list[Path], described: Instance, content: bytes, why: str) -> None:
    replace_initramfs(disks, content)
    found = command.check(disks, described).findings
    assert f"initramfs of {VERSION}: {why}" in [one.text for one in found]


def test_an_initramfs_that_takes_too_long(
    disks: list[Path], described: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_files, "SEARCH_SECONDS", 2)
    replace_initramfs(disks, gzip.compress(bytes(32 * MIB)) * 128)
    found = command.check(disks, described).findings
    why = f"initramfs of {VERSION}: it cannot be read, or not in time"
    assert why in [one.text for one in found]


def replace_initramfs(disks: list[Path], content: bytes) -> None:
    root, file = disks[0].parent / "again", disks[0].parent / "initrd"
    file.write_bytes(content)
    with disks[0].open("r+b") as disk:
        disk.seek(2 * MIB)
        root.write_bytes(disk.read(96 * MIB))
        name = f"/boot/initrd.img-{VERSION}"
        output("debugfs", "-w", "-R", f"rm {name}", root)
        output("debugfs", "-w", "-R", f"write {file} {name}", root)
        disk.seek(2 * MIB)
        disk.write(root.read_bytes())
