"""Names of disks that depend on the machine, and the kernel that is looked at."""

from typing import cast

import pytest

from importer.check import look
from importer.check.command import decide
from node.finding import NOTE, PROBLEM
from node.guest_files import GuestFiles
from tests.unit.importer.check.checked import FILES, FSTAB, LOST, MENU, ROOT, facts
from tests.unit.importer.renumber.guests import Files

GRUB = "/boot/grub/grub.cfg"
DEBCONF = "/var/cache/debconf/config.dat"
INSTALLED = """Name: grub-pc/install_devices
Template: grub-pc/install_devices
Value: {}
Owners: grub-pc

Name: other/question
Template: UUID=cccc-lost
"""


def found(path: str, text: str) -> list[tuple[str, str]]:
    """Levels and texts of what is said of file systems, if a file has this text."""
    checked = decide(facts({**FILES, path: text}))
    return [(f.level, f.text) for f in checked.findings if f.about == "file systems" and f.remedy]


@pytest.mark.parametrize("option", ["noauto,user", "nofail"])
def test_a_disk_without_which_the_guest_boots_is_no_problem(option: str) -> None:
    ((level, text),) = found("/etc/fstab", f"{FSTAB}/dev/sdb1 /media/usb auto {option} 0 0\n")
    assert (level, text[:22]) == (NOTE, "/etc/fstab: /dev/sdb1:")
    ((level, text),) = found("/etc/fstab", f"{FSTAB}UUID={LOST} none swap {option} 0 0\n")
    assert level == NOTE
    assert "90 s" not in text


@pytest.mark.parametrize("spec", ["by-id/virtio-123-part1", "by-path/pci-0000:00:07.0-part1"])
def test_names_of_the_old_hardware_are_a_problem(spec: str) -> None:
    text = f"{FSTAB}/dev/disk/{spec} /srv ext4 defaults 0 2\n"
    wanted = f"/etc/fstab: /dev/disk/{spec}: another machine has other names"
    assert found("/etc/fstab", text) == [(PROBLEM, wanted)]


@pytest.mark.parametrize(
    "spec", ["by-id/dm-name-vg-srv", "by-id/md-uuid-1:2", "by-id/lvm-pv-uuid-x"]
)
def test_names_of_volumes_stay(spec: str) -> None:
    assert not found("/etc/fstab", f"{FSTAB}/dev/disk/{spec} /srv ext4 defaults 0 2\n")


@pytest.mark.parametrize("option", ["root", "resume"])
def test_a_device_on_the_kernel_s_command_line(option: str) -> None:
    text = MENU.replace("ro quiet", f"ro {option}=/dev/sda1")
    wanted = f"{GRUB}: /dev/sda1: the instance's disks are called /dev/vd*"
    assert found(GRUB, text) == [(PROBLEM, wanted)]
    advanced = MENU.replace(f"root=UUID={ROOT} ro single", "root=/dev/sda1 ro single")
    assert not found(GRUB, advanced)


def test_where_the_next_update_of_grub_installs_it() -> None:
    by_id = "/dev/disk/by-id/ata-QEMU_HARDDISK_QM00001"
    text = f"{DEBCONF}: {by_id}: another machine has other names"
    assert found(DEBCONF, INSTALLED.format(f"{by_id}, /dev/vda")) == [(NOTE, text)]
    assert not found(DEBCONF, INSTALLED.format("/dev/vda"))


def test_the_newest_kernel_and_its_initramfs() -> None:
    versions = ("5.10.0-9-amd64", "5.10.0-28-amd64")
    texts = {f"/boot/vmlinuz-{version}": "" for version in versions}
    texts |= {f"/boot/initrd-{version}": "" for version in versions}

    class Kernels(Files):
        def size(self, _path: str) -> int:
            return 0

    kernel = look._kernel(cast(GuestFiles, Kernels(texts)), "")
    assert kernel is not None
    assert (kernel.version, kernel.initramfs) == ("5.10.0-28-amd64", None)
