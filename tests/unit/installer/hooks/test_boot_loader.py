"""Which boot loader a site hook leaves, and where upgrades of GRUB write to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from installer.disks.prepare import Devices
from installer.hooks import bootloader
from installer.hooks.bootloader import HookBootLoader, Loader
from installer.hooks.grub import HookGrub, chosen_devices, selections
from installer.settings import MIB
from node.errors import KitError
from tests.unit.installer.hooks.test_hooks import RecordingTree, context

GRUB = b"\xeb\x63\x90".ljust(0x180, b"\0") + b"GRUB \0Geom\0Hard Disk\0"
MENU = "boot/grub/grub.cfg"


class Disk:
    """The root disk of a guest, with its start and its tree."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.start = bytearray(2 * MIB)
        devices = Devices(Path("/dev/loop10"), Path("/dev/loop11"), None, root)
        self.target = RecordingTree(root)
        self.target.devices = devices
        monkeypatch.setattr(bootloader, "_read", self._read)

    def _read(self, device: Path, offset: int, size: int) -> bytes:
        assert device == Path("/dev/loop10")
        return bytes(self.start[offset : offset + size])

    @property
    def ran(self) -> list[str]:
        return [argv[0] for argv, _ in self.target.ran]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(tmp_path, monkeypatch)
    made.start[: len(GRUB)] = GRUB
    made.target.write("usr/sbin/grub-install", "")
    made.target.write("usr/sbin/update-grub", "")
    made.target.write("boot/grub/i386-pc/core.img", "ours")
    made.target.write(MENU, "linux /vmlinuz root=UUID=abc\n")
    return made


def mended(disk: Disk, by: Callable[[], object], **settings: str) -> list[str]:
    """The programs that run after a site hook has done something."""
    made, hook = context(**settings), HookBootLoader()
    later = hook.apply(made, disk.target)
    by()
    later.mend()
    return disk.ran


def test_a_boot_loader_is_looked_for_where_the_site_has_hooks() -> None:
    assert not HookBootLoader().enabled(context())
    assert HookBootLoader().enabled(replace(context(), site_hooks=("/hooks/one",)))


def test_what_no_hook_has_touched_stays(disk: Disk) -> None:
    assert mended(disk, lambda: None) == []
    # A partition table is no boot loader.
    assert mended(disk, lambda: disk.start.__setitem__(slice(446, 510), b"\1" * 64)) == []


def test_grub_of_a_hook_gets_its_modules(disk: Disk) -> None:
    def embed() -> None:
        disk.start[600:604] = b"core"

    assert mended(disk, embed) == ["grub-install"]
    [(argv, _)] = disk.target.ran
    assert "--modules=part_msdos ext2" in argv and argv[-2:] == ("--recheck", "/dev/loop10")


def test_files_of_grub_count_as_well(disk: Disk) -> None:
    path = disk.target.path("boot/grub/i386-pc/core.img")
    assert mended(disk, lambda: path.write_text("the hook's")) == ["grub-install"]


@pytest.mark.parametrize(("style", "offset"), [("gpt", MIB + 100), ("msdos", 600)])
def test_images_are_looked_for_where_they_are_embedded(disk: Disk, style: str, offset: int) -> None:
    write = lambda: disk.start.__setitem__(slice(offset, offset + 4), b"core")  # noqa: E731
    assert mended(disk, write, partition_style=style) == ["grub-install"]


def test_a_superblock_is_no_boot_loader(disk: Disk) -> None:
    write = lambda: disk.start.__setitem__(slice(1024, 1028), b"time")  # noqa: E731
    assert mended(disk, write, partition_style="none") == []


def test_another_boot_loader_is_left_alone(disk: Disk) -> None:
    assert mended(disk, lambda: disk.start.__setitem__(slice(0, 2), b"\xfa\xfc")) == []


@pytest.mark.parametrize(
    "line", ["linux /vmlinuz root=/dev/loop11 ro", "set root='hostdisk//dev/loop10'"]
)
def test_a_menu_with_devices_of_the_node_is_made_anew(disk: Disk, line: str) -> None:
    with pytest.raises(KitError, match="names devices of the node"):
        mended(disk, lambda: disk.target.write(MENU, line))
    assert disk.ran == ["update-grub"]


def test_a_guest_without_a_menu_is_warned_of(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    def purge() -> None:
        disk.target.remove(MENU)
        disk.target.remove("usr/sbin/update-grub")

    assert mended(disk, purge) == []
    assert "without a menu" in caplog.text


def test_upgrades_write_to_no_disk_of_the_node_and_to_the_guests_own_later(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    target.devices = Devices(Path("/dev/loop10"), Path("/dev/loop11"), None, tmp_path)
    target.write("usr/sbin/grub-install", "")
    target.write("var/cache/debconf/config.dat", _database(""))
    made = replace(context(), site_hooks=("/hooks/one",))
    HookGrub().apply(made, target).mend()
    given = [text for argv, text in target.ran if argv == ("debconf-set-selections",)]
    assert given == [selections(""), selections("/dev/vda")]
    assert "install_devices_empty boolean true" in given[0]
    assert "install_devices_empty boolean false" in given[1]


def test_without_site_hooks_upgrades_are_told_the_guests_disk_once(tmp_path: Path) -> None:
    target = RecordingTree(tmp_path)
    target.devices = Devices(Path("/dev/loop10"), Path("/dev/loop11"), None, tmp_path)
    target.write("usr/sbin/grub-install", "")
    later = HookGrub().apply(context(), target)
    target.write("var/cache/debconf/config.dat", _database("/dev/vda"))
    later.mend()
    given = [text for argv, text in target.ran if argv == ("debconf-set-selections",)]
    assert given == [selections("/dev/vda")]


@pytest.mark.parametrize(("chosen", "kept"), [("/dev/sda", True), ("/dev/loop10", False)])
def test_the_devices_that_a_hook_has_chosen_stay(tmp_path: Path, chosen: str, kept: bool) -> None:
    target = RecordingTree(tmp_path)
    target.write("usr/sbin/grub-install", "")
    target.devices = Devices(Path("/dev/loop10"), Path("/dev/loop11"), None, tmp_path)
    later = HookGrub().apply(context(), target)
    target.ran.clear()
    target.write("var/cache/debconf/config.dat", _database(chosen))
    later.mend()
    assert (target.ran == []) == kept


def _database(devices: str) -> str:
    entry = "Name: {}\nTemplate: x\nValue: {}\nOwners: grub-pc\nFlags: seen\n\n"
    names = ("grub-pc/timeout", "grub-pc/install_devices")
    return "".join(
        entry.format(name, value) for name, value in zip(names, ("5", devices), strict=True)
    )


def test_devices_are_read_from_debconfs_database() -> None:
    assert chosen_devices(_database("/dev/sda, /dev/sdb")) == "/dev/sda, /dev/sdb"
    assert chosen_devices(_database("")) == "" == chosen_devices("")


def test_grub_is_told_from_other_loaders() -> None:
    assert Loader(GRUB, ()).is_grub
    assert not Loader(bytes(440), ()).is_grub
    assert not Loader(b"\xeb\x63".ljust(440, b"\0"), ()).is_grub
