"""What --info and --inspect see, on file systems that the real tools make."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from converter.cli.images import report
from converter.contents.describe import DiskReport, describe
from converter.contents.inspect import _appliance_disk, look_inside
from node.errors import KitError
from tests.system.installer.support import TOP, loop, output

MIB = 1 << 20
EMULATED = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
ROOT = "0e5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a11"
SWAP = "1f5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a12"
WRONG = "99999999-77a8-4d0b-9f0c-3d3b8e6f4a13"
BOOT = "2f5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a14"


def disk(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    path.chmod(0o600)
    return path


def contents(path: Path) -> DiskReport:
    def read(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    return describe(read, path.stat().st_size)


def made(*argv: str) -> Callable[[Path], None]:
    return lambda path: output(*argv, path) and None


def luks(kind: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        options = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
        label = ["--label", "vault"] if kind == "luks2" else []
        subprocess.run(
            ["cryptsetup", "luksFormat", "--batch-mode", "--type", kind, *options, *label, path],
            input=b"secret",
            check=True,
        )

    return make


def physical_volume(path: Path) -> None:
    with loop(path, read_only=False) as device:
        output("pvcreate", "--quiet", "--devices", device, device)


MAKERS: dict[str, Callable[[Path], None]] = {
    "ext2": made("mkfs.ext2", "-q", "-F", "-L", "two"),
    "ext3": made("mkfs.ext3", "-q", "-F", "-L", "three"),
    "ext4": made("mkfs.ext4", "-q", "-F", "-L", "sixteen chars 16"),
    "xfs": made("mkfs.xfs", "-q", "-f", "-L", "elevenchars"),
    "btrfs": made("mkfs.btrfs", "-q", "-f", "-L", "a tree"),
    "vfat": made("mkfs.vfat", "-F", "32", "-n", "ESP"),
    "vfat without a label": made("mkfs.vfat", "-F", "16"),
    "ntfs": made("mkntfs", "--fast", "--force", "--quiet"),
    "swap": made("mkswap", "--label", "paging"),
    "luks1": luks("luks1"),
    "luks2": luks("luks2"),
    "lvm": physical_volume,
}


@pytest.mark.parametrize("maker", MAKERS)
def test_the_kits_own_eyes_see_what_blkid_sees(tmp_path: Path, maker: str) -> None:
    path = disk(tmp_path / "disk", 320 * MIB)
    MAKERS[maker](path)
    lines = output("blkid", "--probe", "--output", "export", path).splitlines()
    there = dict(line.replace("\\ ", " ").split("=", 1) for line in lines)
    (found,) = contents(path).places[0].holds
    assert (found.type, found.uuid) == (there["TYPE"], there["UUID"])
    assert found.label == there.get("LABEL")
    path.unlink()


FSTAB = f"""# /etc/fstab
UUID={ROOT} / ext4 errors=remount-ro 0 1
UUID={BOOT} /boot ext2 defaults 0 2
UUID={WRONG} none swap sw 0 0
PARTUUID=c0ffee01-03 /srv ext4 defaults 0 2
PARTUUID=c0ffee01-07 /opt ext4 defaults 0 2
LABEL=data /data ext4 defaults 0 2
"""
FILES = {
    "etc/fstab": FSTAB,
    "etc/initramfs-tools/conf.d/resume": f"RESUME=UUID={WRONG}\n",
    "etc/default/grub": f'GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX="resume=UUID={SWAP}"\n',
    "etc/network/interfaces": "source /etc/network/interfaces.d/*\n",
    "etc/network/interfaces.d/ens3": "iface ens3 inet static\n  address 203.0.113.5/24\n",
    "etc/systemd/network/lan.network": "[Match]\nName=lan0\n[Network]\nDHCP=yes\n",
}
GRUB = f"linux /vmlinuz root=UUID={ROOT} ro\nlinux /vmlinuz root=UUID={WRONG} ro\n"


def guest(directory: Path) -> list[Path]:
    """Two disks: one with /boot, root and swap in partitions, one that is data as a whole."""
    tree, boot = directory / "tree", directory / "boot"
    for name, content in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    (boot / "grub").mkdir(parents=True)
    (boot / "grub/grub.cfg").write_text(GRUB)
    raw = disk(directory / "disk0.raw", 64 * MIB)
    script = (
        "label: dos\nlabel-id: 0xc0ffee01\n"
        "start=2048, size=20480, type=83\nstart=22528, size=40960, type=83\n"
        "start=65536, size=20480, type=82\n"
    )
    subprocess.run(["sfdisk", "--quiet", raw], input=script, text=True, check=True)
    parts = [
        (2048, 20480, ["mkfs.ext2", "-q", "-F", "-U", BOOT, "-d", str(boot)]),
        (22528, 40960, ["mkfs.ext4", "-q", "-F", "-U", ROOT, "-d", str(tree)]),
        (65536, 20480, ["mkswap", "--uuid", SWAP]),
    ]
    for start, sectors, argv in parts:
        part = disk(directory / "part", sectors * 512)
        output(*argv, part)
        output("dd", f"if={part}", f"of={raw}", f"seek={start}", "conv=notrunc", "status=none")
    data = disk(directory / "data.raw", 16 * MIB)
    output("mkfs.ext4", "-q", "-F", "-L", "data", data)
    images = [file.with_suffix(".qcow2") for file in (raw, data)]
    for file, image in zip((raw, data), images, strict=True):
        output("qemu-img", "convert", "-f", "raw", "-O", "qcow2", file, image)
    for used in (tree, boot):
        shutil.rmtree(used)
    return images


def test_a_guests_references_to_nothing_are_found(tmp_path: Path) -> None:
    disks = guest(tmp_path)
    before = [path.read_bytes() for path in disks]
    ran = subprocess.run(
        [TOP / "converter/qcow2raw.py", "--inspect", "--json", *disks],
        env={**os.environ, **EMULATED},
        stdout=subprocess.PIPE,
        check=True,
    )
    shown = json.loads(ran.stdout)
    assert [image["name"] for image in shown["images"]] == [str(path) for path in disks]
    assert shown["images"][0]["swap"][0]["uuid"] == SWAP
    found = shown["guest"]
    assert {(one["file"], one["line"], one["tag"], one["value"]) for one in found["missing"]} == {
        ("/etc/fstab", 4, "UUID", WRONG),
        ("/etc/fstab", 6, "PARTUUID", "c0ffee01-07"),
        ("/etc/initramfs-tools/conf.d/resume", 1, "UUID", WRONG),
        ("/grub/grub.cfg", 2, "UUID", WRONG),
    }
    assert {(one["file"], one["interface"], one["value"]) for one in found["addresses"]} == {
        ("/etc/network/interfaces.d/ens3", "ens3", "203.0.113.5/24"),
        ("/etc/systemd/network/lan.network", "lan0", "dhcp"),
    }
    assert found["warnings"] == []
    assert [path.read_bytes() for path in disks] == before


def test_that_encrypted_disks_were_not_looked_into_is_told(tmp_path: Path) -> None:
    path = disk(tmp_path / "disk", 32 * MIB)
    luks("luks2")(path)
    found = look_inside([(path, "raw")], (), use_kvm=False)
    assert any("encrypted" in warning for warning in found.warnings)
    assert any("no /etc/fstab" in warning for warning in found.warnings)


@pytest.mark.quick
def test_info_of_a_disk_that_is_all_swap(tmp_path: Path) -> None:
    raw, path = disk(tmp_path / "swap.raw", 32 * MIB), tmp_path / "swap.qcow2"
    output("mkswap", "--uuid", SWAP, raw)
    output("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path)
    said = report([str(path)], None, deep=False, as_json=False)
    assert f"  whole disk: swap UUID {SWAP}\n" in said
    assert "a copy reads 0 B, makes 0 B zero, drops 32 MiB of swap" in said


def test_what_the_appliance_cannot_read_is_refused() -> None:
    class Remote:
        name, format = "nbd://203.0.113.9/disk", "raw"

    with pytest.raises(KitError, match="local raw and qcow2 images only"):
        _appliance_disk(Remote())  # type: ignore[arg-type]


def test_a_disk_that_is_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIBGUESTFS_BACKEND", "direct")
    with pytest.raises(KitError, match="appliance"):
        look_inside([(tmp_path / "none.raw", "raw")], (), use_kvm=False)
