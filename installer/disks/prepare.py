"""Makes the partitions, file systems and swap of a layout, and mounts the guest."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from installer.disks import blank
from installer.disks.layout import Layout, PlannedDisk
from installer.disks.partitions import Use, sfdisk_script
from installer.releases import unreadable_features
from node.devices.claim import Backing, claimed
from node.devices.loop import attached
from node.errors import KitError
from node.isolation.mount import flushed, mounted
from node.log import log
from node.run import run

# The guest is mounted below this directory. The tmpfs on it exists only in the mount namespace of
# one create, so nothing has to be removed after a SIGKILL.
BUILD = Path("/run/ganeti-instance-kit")

MKFS_TOOLS = {
    "ext2": "mke2fs",
    "ext3": "mke2fs",
    "ext4": "mke2fs",
    "xfs": "mkfs.xfs",
    "btrfs": "mkfs.btrfs",
}

# Options of mkfs.xfs -i; the other features are options of -m (mkfs.xfs(8)).
XFS_INODE_FEATURES = ("nrext64", "sparse")


@dataclass(frozen=True)
class Devices:
    """The devices of the guest on the node while it is made.

    `disk`, `fsysdev` and `esp` are the loop devices of the root disk, of the root file system and
    of the EFI system partition. `root` is the mounted tree.
    """

    disk: Path
    fsysdev: Path
    esp: Path | None
    root: Path


def tools(layout: Layout) -> tuple[str, ...]:
    """The programs of the node that `prepared` needs for this layout."""
    found = {MKFS_TOOLS[str(disk.fstype)] for disk in (layout.root, *layout.data)}
    if layout.root.partitions:
        found.add("sfdisk")
    if layout.esp_id is not None:
        found |= {"mkfs.vfat", "mmd", "mcopy"}
    if layout.swaps:
        found.add("mkswap")
    return tuple(sorted(found))


def mkfs_argv(fstype: str, uuid: str, suite: str, device: Path) -> list[str]:
    """The command that makes a file system with this UUID, which the suite's tools can read."""
    without = unreadable_features(suite, fstype)
    if fstype == "xfs":
        inodes = [f"{name}=0" for name in without if name in XFS_INODE_FEATURES]
        metadata = [f"{name}=0" for name in without if name not in XFS_INODE_FEATURES]
        option = ["-i", ",".join(inodes)] if inodes else []
        return [
            "mkfs.xfs",
            "-q",
            "-f",
            *option,
            "-m",
            ",".join([f"uuid={uuid}", *metadata]),
            str(device),
        ]
    off = ",".join(f"^{name}" for name in without)
    if fstype == "btrfs":
        option = ["-R", off] if off else []  # -O only accepts these since btrfs-progs 6.3
        return ["mkfs.btrfs", "-q", "-f", "-U", uuid, *option, str(device)]
    option = ["-O", off] if off else []
    return ["mke2fs", "-q", "-F", "-t", fstype, "-U", uuid, *option, str(device)]


def make_build_directory() -> None:
    """Makes the directory below which the guest is mounted.

    Raises:
        KitError: it cannot be made.
    """
    try:
        BUILD.mkdir(exist_ok=True)
    except OSError as error:
        raise KitError(
            f"directory {BUILD}: {error.strerror}", hint=f"see `findmnt -T {BUILD.parent}`"
        ) from error


def claim_all(stack: ExitStack, disks: Iterable[PlannedDisk]) -> dict[int, Backing]:
    """Opens disks exclusively, before the first byte is written.

    Returns:
        the open disks by their index.

    Raises:
        KitError: a disk is in use or has no path.
    """
    return {disk.disk.index: stack.enter_context(claimed(_require_path(disk))) for disk in disks}


def _name_in_errors(disk: PlannedDisk) -> str:
    return f"disk {disk.disk.index} ({disk.disk.path})"


def _require_path(disk: PlannedDisk) -> Path:
    if disk.disk.path is None:
        raise KitError(
            f"disk {disk.disk.index}: no path on this node",
            hint="use a disk template whose disks are block devices or files on the node",
        )
    return Path(disk.disk.path)


@contextmanager
def prepared(layout: Layout, suite: str, disks: Mapping[int, Backing]) -> Iterator[Devices]:
    """Makes the guest's partitions, file systems and swap areas, and mounts them.

    Raises:
        KitError: a tool fails, or at the end a mount or a device is still in use.
    """
    with ExitStack() as stack:
        # Old signatures of RAID, LVM or other tables must not be found in the guest, nor by udev on
        # the loop devices.
        for disk in (layout.root, *layout.swaps, *layout.data):
            backing = disks[disk.disk.index]
            places = blank.signature_places(layout, disk.disk.index, backing.size)
            blank.zero_regions(backing, places, _name_in_errors(disk))
        root = disks[layout.root.disk.index]
        # Also over block devices: GRUB supports loop devices, but for a logical volume
        # it would have to ask the device mapper, which it cannot in the guest's chroot.
        whole = stack.enter_context(attached(root))
        fsysdev, esp = _make_partitions(stack, layout, root, whole)
        _make_file_system(layout.root, suite, fsysdev)
        if esp is not None and layout.esp_id is not None:
            number = layout.esp_id.replace("-", "")
            run(["mkfs.vfat", "-F", "32", "-i", number, "-n", "EFI", esp], what="mkfs of the ESP")
        for disk in layout.swaps:
            _make_swap(disk, disks[disk.disk.index])
        stack.enter_context(
            mounted("tmpfs", BUILD, fstype="tmpfs", options=("mode=755", "size=1m"))
        )
        top = BUILD / "guest"
        top.mkdir()
        stack.enter_context(mounted(fsysdev, top, fstype=str(layout.root.fstype)))
        stack.enter_context(flushed(top, _name_in_errors(layout.root)))
        for disk in layout.data:
            with ExitStack() as single:
                device = single.enter_context(attached(disks[disk.disk.index]))
                _make_file_system(disk, suite, device)
                place = top / str(disk.mountpoint).lstrip("/")
                place.mkdir(parents=True, exist_ok=True)
                single.enter_context(mounted(device, place, fstype=str(disk.fstype)))
                single.enter_context(flushed(place, _name_in_errors(disk)))
                stack.enter_context(single.pop_all())
        yield Devices(whole, fsysdev, esp, top)


def _make_partitions(
    stack: ExitStack, layout: Layout, root: Backing, whole: Path
) -> tuple[Path, Path | None]:
    if not layout.root.partitions:
        return whole, None
    style = "gpt" if layout.esp_id is not None else "msdos"
    run(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", whole],
        input=sfdisk_script(style, layout.label_uuid, layout.root.partitions),
        what=f"partition table of disk {layout.root.disk.index}",
    )
    devices = {
        part.use: stack.enter_context(attached(root, part.offset, part.size))
        for part in layout.root.partitions
        if part.use is not Use.BIOS_BOOT
    }
    return devices[Use.ROOT], devices.get(Use.ESP)


def _make_file_system(disk: PlannedDisk, suite: str, device: Path) -> None:
    index, fstype = disk.disk.index, str(disk.fstype)
    argv = mkfs_argv(fstype, str(disk.uuid), suite, device)
    run(argv, what=f"mkfs of disk {index}")
    log.info("disk %d: %s, %s, UUID %s", index, disk.mountpoint, fstype, disk.uuid)


def _make_swap(disk: PlannedDisk, backing: Backing) -> None:
    index = disk.disk.index
    # On a loop device, since we hold the disk with O_EXCL, with which mkswap(8) opens devices, too.
    with attached(backing) as device:
        run(["mkswap", "--uuid", str(disk.uuid), device], what=f"mkswap on disk {index}")
    log.info("disk %d: swap, UUID %s", index, disk.uuid)
