"""Plans how each disk is used: root, swap, file system with mount point; pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import ceil, floor
from pathlib import PurePosixPath
from uuid import UUID

from guest.fstab import Entry
from guest.instance import Disk, Instance
from installer.disks.partitions import MSDOS_LIMIT, Partition, plan_partitions
from installer.settings import MIB, Settings
from node.text import size as size_text

# The least that a guest needs, in bytes: measured with all hooks, plus a quarter for updates.
BASE_SIZE = 700 * MIB
KERNEL_SIZE = 700 * MIB
# mkfs refuses smaller disks (btrfs 109 MiB, xfs 300 MiB in current versions).
DATA_SIZE = {
    "ext2": 8 * MIB,
    "ext3": 8 * MIB,
    "ext4": 8 * MIB,
    "xfs": 300 * MIB,
    "btrfs": 128 * MIB,
}
SWAP_SIZE = 1 * MIB

# The top directories of the mount points that a disk's name may mean. Not /usr, /boot and /etc: the
# boot loader and the initramfs would have to find these disks first.
MOUNT_TOPS = ("home", "media", "mnt", "opt", "srv", "tmp", "var")
# Symlinks in every guest (Debian's base-files): nothing can be mounted there.
LINKS = ("/var/lock", "/var/run", "/var/spool/mail")
# The bootstrap writes here: data of an earlier installation cannot be kept.
SYSTEM_DATA = PurePosixPath("/var/lib/dpkg")
# The directories that apt and dpkg use, in the bootstrap and at each upgrade. Package lists with
# their index need 100 MiB, the packages of a guest with a kernel 140 MiB before they are unpacked.
# On a much smaller file system, engines may hang instead of reporting an error.
PACKAGE_DATA = (
    SYSTEM_DATA,
    PurePosixPath("/var/lib/apt/lists"),
    PurePosixPath("/var/cache/apt/archives"),
)
PACKAGE_DATA_SIZE = 256 * MIB

ROOT_OPTIONS = {
    "ext4": "errors=remount-ro",
    "ext3": "errors=remount-ro",
    "ext2": "errors=remount-ro",
}
# systemd grows the file system to its device at boot (systemd.mount(5)), but not ext2 and ext3.
GROW_OPTION = "x-systemd.growfs"
GROWABLE = ("ext4", "xfs", "btrfs")


class Role(Enum):
    """How the guest uses a disk."""

    ROOT = "root"
    SWAP = "swap"
    DATA = "data"
    KEPT = "kept"
    UNTOUCHED = "untouched"


@dataclass(frozen=True)
class PlannedDisk:
    """A disk and how it is used; `size` is in bytes.

    `uuid` is the UUID that its file system or swap area will get, or has if it is kept.
    `partitions` is empty if the whole disk is used.
    """

    disk: Disk
    role: Role
    size: int
    mountpoint: str | None = None
    fstype: str | None = None
    uuid: str | None = None
    partitions: tuple[Partition, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The planned disks of an instance. The data disks are in the order of their mounting."""

    root: PlannedDisk
    swaps: tuple[PlannedDisk, ...]
    data: tuple[PlannedDisk, ...]
    kept: tuple[PlannedDisk, ...]
    untouched: tuple[PlannedDisk, ...]
    label_uuid: str
    esp_id: str | None

    def fstab(self, *, swapfile: bool, grow: bool) -> tuple[Entry, ...]:
        """The guest's fstab: root, the data disks by depth, ESP, swap.

        Args:
            swapfile: whether there is a /swapfile.
            grow: whether file systems grow with their devices at boot.
        """
        entries = [_entry(self.root, passno=1, grow=grow)]
        mounts = sorted((*self.data, *self.kept), key=lambda disk: str(disk.mountpoint))
        entries += [_entry(disk, passno=2, grow=grow) for disk in mounts]
        if self.esp_id is not None:
            # The running guest does not need the ESP: a damaged one must not stop the boot.
            options = "umask=0077,nofail"
            entries.append(Entry(f"UUID={self.esp_id}", "/boot/efi", "vfat", options))
        entries += [Entry(f"UUID={disk.uuid}", "none", "swap", "sw") for disk in self.swaps]
        if swapfile:
            entries.append(Entry("/swapfile", "none", "swap", "sw"))
        return tuple(entries)


def _entry(disk: PlannedDisk, *, passno: int, grow: bool) -> Entry:
    fstype, mountpoint = disk.fstype, disk.mountpoint
    assert fstype is not None and mountpoint is not None
    options = [ROOT_OPTIONS[fstype]] if mountpoint == "/" and fstype in ROOT_OPTIONS else []
    if grow and fstype in GROWABLE:
        options.append(GROW_OPTION)
    checked = passno if fstype.startswith("ext") else 0  # xfs and btrfs have no boot-time fsck
    return Entry(f"UUID={disk.uuid}", mountpoint, fstype, ",".join(options) or "defaults", checked)


def mountpoint_of(name: str | None) -> str | None:
    r"""The mount point that a disk's name means, or None.

    Names are written like systemd's mount units: `srv`, `var-lib-postgresql`. A dash that belongs
    to a directory's name is `\x2d` (systemd.unit(5), systemd-escape(1)). `/srv` is accepted, too.
    """
    if not name:
        return None
    if name.startswith("/"):
        parts = [part for part in name.split("/") if part]
    else:
        parts = [
            re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), part)
            for part in name.split("-")
        ]
    sane = all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", part) for part in parts)
    if not parts or parts[0] not in MOUNT_TOPS or not sane:
        return None
    return "/" + "/".join(parts)


def plan_layout(
    instance: Instance,
    settings: Settings,
    sizes: Mapping[int, int],
    *,
    existing: Mapping[int, tuple[str, str]],
    new_uuid: Callable[[], UUID],
) -> Layout:
    """Plans how each disk of an instance is used.

    Args:
        sizes: each disk's size in bytes, by its index.
        existing: the type and UUID of file systems of an earlier installation, by disk index. They
            are kept, except where the bootstrap writes its own data.
        new_uuid: gives the UUIDs for new file systems, swap areas and partition tables.

    Raises:
        ValueError: a disk cannot be used like this; the text has the disk and the reason, and the
            minimum size of a disk that is too small.
    """
    if not instance.disks:
        raise ValueError("it has no disk to install on")
    planned = []
    for disk in instance.disks:
        size = sizes[disk.index]
        mountpoint = mountpoint_of(disk.name)
        if disk.index == 0:
            planned.append(_plan_root(disk, size, settings, new_uuid))
        elif disk.name == "swap" and settings.hook_swap:
            planned.append(PlannedDisk(disk, Role.SWAP, size, uuid=str(new_uuid())))
        elif mountpoint is None:
            planned.append(PlannedDisk(disk, Role.UNTOUCHED, size))
        elif disk.index in existing and can_be_kept(mountpoint):
            fstype, uuid = existing[disk.index]
            planned.append(PlannedDisk(disk, Role.KEPT, size, mountpoint, fstype, uuid))
        else:
            fstype, uuid = settings.filesystem, str(new_uuid())
            planned.append(PlannedDisk(disk, Role.DATA, size, mountpoint, fstype, uuid))
    _check(planned, settings, has_kernel=settings.kernel != "none")

    def having(role: Role) -> Iterable[PlannedDisk]:
        return (disk for disk in planned if disk.role is role)

    label = new_uuid()
    return Layout(
        root=planned[0],
        swaps=tuple(having(Role.SWAP)),
        # A mount point comes before those below it.
        data=tuple(sorted(having(Role.DATA), key=lambda disk: str(disk.mountpoint))),
        kept=tuple(having(Role.KEPT)),
        untouched=tuple(having(Role.UNTOUCHED)),
        label_uuid=str(label),
        esp_id=_fat_id(new_uuid()) if settings.partition_style == "gpt" else None,
    )


def plan_only_root(
    disk: Disk, size: int, settings: Settings, new_uuid: Callable[[], UUID]
) -> Layout:
    """Plans one disk like a root disk, for a file system that comes from a backup.

    Raises:
        ValueError: its size is not possible; see `plan_layout`.
    """
    root = _plan_root(disk, size, settings, new_uuid)
    _require_addressable(root, settings)
    room = root.partitions[-1].size if root.partitions else size
    least = DATA_SIZE[settings.filesystem]
    if room < least:
        raise ValueError(
            f"disk {disk.index}: too small: its file system needs {size_text(least, ceil)} at least"
        )
    gpt = settings.partition_style == "gpt"
    label = str(new_uuid())
    return Layout(root, (), (), (), (), label, _fat_id(new_uuid()) if gpt else None)


def _fat_id(uuid: UUID) -> str:
    digits = uuid.hex[:8].upper()
    return f"{digits[:4]}-{digits[4:]}"


def can_be_kept(mountpoint: str) -> bool:
    """Whether a reinstall can keep a data disk: not where the bootstrap writes its own data."""
    return not SYSTEM_DATA.is_relative_to(mountpoint) and mountpoint != "/tmp"


def _plan_root(
    disk: Disk, size: int, settings: Settings, new_uuid: Callable[[], UUID]
) -> PlannedDisk:
    partitions = plan_partitions(settings.partition_style, size, settings.partition_alignment)
    return PlannedDisk(disk, Role.ROOT, size, "/", settings.filesystem, str(new_uuid()), partitions)


def minimum_root(settings: Settings, *, has_kernel: bool, has_swap_disk: bool) -> int:
    """The minimum size of the root disk in bytes."""
    size = BASE_SIZE + (KERNEL_SIZE if has_kernel else 0)
    # The start of the root partition does not depend on the disk's size.
    partitions = plan_partitions(settings.partition_style, 0, settings.partition_alignment)
    size += partitions[-1].offset if partitions else 0
    return size if has_swap_disk else size + swapfile_bytes(settings)


def swapfile_bytes(settings: Settings) -> int:
    """The size in bytes of the /swapfile of a guest without a swap disk; 0 for none."""
    return settings.swapfile_size * MIB if settings.hook_swap else 0


def minimum_data(fstype: str, mountpoint: str) -> int:
    """The minimum size of a data disk in bytes."""
    filled = any(path.is_relative_to(mountpoint) for path in PACKAGE_DATA)
    return max(DATA_SIZE[fstype], PACKAGE_DATA_SIZE if filled else 0)


def _check(planned: list[PlannedDisk], settings: Settings, *, has_kernel: bool) -> None:
    seen: dict[str, int] = {}
    for disk in planned:
        index, name = disk.disk.index, disk.disk.name
        if disk.role in (Role.UNTOUCHED, Role.KEPT):
            least = 0
        elif disk.role is Role.ROOT:
            has_swap_disk = any(other.role is Role.SWAP for other in planned)
            least = minimum_root(settings, has_kernel=has_kernel, has_swap_disk=has_swap_disk)
        elif disk.role is Role.SWAP:
            least = SWAP_SIZE
        else:
            least = minimum_data(settings.filesystem, str(disk.mountpoint))
        if disk.size < least:
            raise ValueError(
                f"disk {index} ({disk.mountpoint or disk.role.value}): too small: it has"
                f" {size_text(disk.size, floor)}, but needs at least {size_text(least, ceil)}"
            )
        if disk.role is not Role.UNTOUCHED and disk.disk.access != "rw":
            raise ValueError(
                f"disk {index} ({name or disk.mountpoint}): read-only, so it cannot be used as"
                f" {disk.role.value}"
            )
        if disk.mountpoint is not None:
            for link in LINKS:
                if PurePosixPath(disk.mountpoint).is_relative_to(link):
                    raise ValueError(
                        f"disk {index} ({name}): {link} is a link in the guest: nothing can be"
                        " mounted there"
                    )
            if disk.mountpoint in seen:
                raise ValueError(
                    f"disk {index} ({name}): disk {seen[disk.mountpoint]} has the same mount point"
                )
            seen[disk.mountpoint] = index
    root = planned[0]
    if root.disk.name == "swap":
        raise ValueError("disk 0 (swap): it is the root disk; give another disk the name swap")
    _require_addressable(root, settings)


def _require_addressable(root: PlannedDisk, settings: Settings) -> None:
    if settings.partition_style == "msdos" and root.size > MSDOS_LIMIT:
        raise ValueError(
            f"disk {root.disk.index} (/): larger than 2 TiB, the limit of partition_style msdos;"
            " use gpt"
        )
