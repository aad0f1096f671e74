"""What is mounted where, with a libguestfs that only tells what is on the disks."""

from collections.abc import Mapping

import pytest

from guest.mount_points import Place
from kit.rescue.tree import Mounted, Tree
from node.errors import KitError


class Handle:
    """A libguestfs whose disks have these file systems, with the paths of the files in each."""

    def __init__(self, found: Mapping[str, tuple[str, Mapping[str, str]]]) -> None:
        self.found = found
        self.mounted: dict[str, tuple[str, str]] = {}
        self.messages = ""

    def list_filesystems(self) -> dict[str, str]:
        if not self.found:
            raise RuntimeError("list_filesystems: Input/output error")
        return {device: kind for device, (kind, _) in self.found.items()}

    def blkid(self, device: str) -> dict[str, str]:
        return {"UUID": f"{device[5:]}-UUID", "TYPE": self.found[device][0]}

    def mount_ro(self, device: str, point: str) -> None:
        self.mount_options("ro", device, point)

    def mount_options(self, options: str, device: str, point: str) -> None:
        if self.found[device][0] == "damaged":
            raise RuntimeError("mount: wrong fs type,\n bad superblock")
        self.mounted[point] = (device, options)

    def umount_all(self) -> None:
        self.mounted.clear()

    def is_file(self, path: str, *, followsymlinks: bool) -> bool:
        assert followsymlinks
        if "damaged" in self.found[self.mounted["/"][0]][1]:
            raise RuntimeError("is_file: Input/output error")
        return path in self.found[self.mounted["/"][0]][1]

    def filesize(self, path: str) -> int:
        return len(self.read_file(path))

    def read_file(self, path: str) -> bytes:
        return self.found[self.mounted["/"][0]][1][path].encode()

    def sync(self) -> None:
        assert not self.messages.startswith("not yet")

    def dmesg(self) -> str:
        return self.messages


SYSTEM = {"/etc/os-release": "", "/etc/fstab": "UUID=sda2-uuid /srv ext4 defaults 0 2"}


def refused(handle: Handle, partition: str | None = None) -> KitError:
    with pytest.raises(KitError) as error:
        Tree(handle, write=False).mount(partition)
    return error.value


def test_all_places_of_the_fstab() -> None:
    handle = Handle({"/dev/sda2": ("ext4", {}), "/dev/sda1": ("ext4", SYSTEM)})
    places = (Place("/dev/sda1", "/"), Place("/dev/sda2", "/srv"))
    assert Tree(handle, write=True).mount(None) == Mounted(places, ())
    assert handle.mounted == {"/": ("/dev/sda1", "rw"), "/srv": ("/dev/sda2", "rw")}


def test_what_does_not_mount_is_left_out() -> None:
    handle = Handle({"/dev/sda1": ("ext4", SYSTEM), "/dev/sda2": ("damaged", {})})
    found = Tree(handle, write=False).mount(None)
    assert found.places == (Place("/dev/sda1", "/"),)
    assert found.left_out == ("/srv: mount of /dev/sda2: mount: wrong fs type, bad superblock",)


def test_a_message_of_what_is_mounted_stays_small() -> None:
    lines = [f"UUID=sda2-uuid /{number} ext4" for number in range(100)]
    lines += [f"LABEL=gone /{'x' * 5000}{number} ext4" for number in range(100)]
    system = {"/etc/os-release": "", "/etc/fstab": "\n".join(lines)}
    handle = Handle({"/dev/sda1": ("ext4", system), "/dev/sda2": ("ext4", {})})
    found = Tree(handle, write=False).mount(None)
    assert len(found.places) == 51
    assert len(found.left_out) == 51
    assert found.left_out[-1] == "100 more"
    assert max(map(len, found.left_out)) == 300


def test_one_file_system() -> None:
    handle = Handle({"/dev/sda1": ("ext4", SYSTEM), "/dev/vg/x": ("xfs", {})})
    assert Tree(handle, write=False).mount("/dev/vg/x").places == (Place("/dev/vg/x", "/"),)
    assert handle.mounted == {"/": ("/dev/vg/x", "ro")}
    error = refused(handle, "/dev/sdb")
    assert error.message == "file system /dev/sdb: not on these disks"
    assert "there are: /dev/sda1 (ext4), /dev/vg/x (xfs)" in error.hint


def test_no_installed_system() -> None:
    handle = Handle({"/dev/sda": ("ext4", {"/data": ""}), "/dev/sdb": ("swap", {})})
    error = refused(handle)
    assert error.message == "disks of the guest: no installed system"
    assert error.hint == (
        "--partition DEVICE opens one; there are: /dev/sda (ext4), /dev/sdb (swap)"
    )


def test_a_file_system_that_cannot_be_read_is_not_the_system() -> None:
    handle = Handle({"/dev/sda1": ("ext4", SYSTEM), "/dev/sda2": ("xfs", {"damaged": ""})})
    assert Tree(handle, write=False).mount(None).places[0] == Place("/dev/sda1", "/")


@pytest.mark.parametrize("partition", [None, "/dev/sda1"])
def test_disks_that_cannot_be_read(partition: str | None) -> None:
    assert refused(Handle({}), partition).message == (
        "file systems of the guest: list_filesystems: Input/output error"
    )


class Unreadable(dict[str, str]):
    """Files that are there, but cannot be read."""

    def __getitem__(self, path: str) -> str:
        raise RuntimeError(f"read_file: {path}: Input/output error")


def test_an_fstab_that_cannot_be_read() -> None:
    handle = Handle({"/dev/sda1": ("ext4", Unreadable(SYSTEM))})
    assert refused(handle).message == (
        "/etc/fstab of the guest: read_file: /etc/fstab: Input/output error"
    )


def test_two_installed_systems() -> None:
    handle = Handle({"/dev/sda1": ("ext4", SYSTEM), "/dev/sda2": ("xfs", SYSTEM)})
    assert refused(handle).message == (
        "disks of the guest: installed systems on /dev/sda1, /dev/sda2"
    )


def test_the_default_subvolume_of_btrfs_goes_first() -> None:
    other = {"btrfsvol:/dev/sda1/@": ("btrfs", SYSTEM), "btrfsvol:/dev/sda1/old": ("btrfs", {})}
    handle = Handle({**other, "/dev/sda1": ("btrfs", SYSTEM)})
    assert Tree(handle, write=False).mount(None).places[0].device == "/dev/sda1"
    handle = Handle({**other, "/dev/sda1": ("btrfs", {})})
    assert Tree(handle, write=False).mount(None).places[0].device == "btrfsvol:/dev/sda1/@"


def test_errors_of_writing_are_found_at_the_end() -> None:
    handle = Handle({"/dev/sda1": ("ext4", SYSTEM)})
    tree = Tree(handle, write=True)
    tree.finish()
    handle.messages = (
        "[ 1.0] Buffer I/O error on dev sda1, logical block 5, lost async page write\n"
    )
    with pytest.raises(KitError, match="what was written may be lost"):
        tree.finish()
