"""Finds the file systems that a reinstall keeps, and refuses disks whose data it would destroy."""

from pathlib import Path

from guest.instance import Instance
from installer.disks.blank import require_blank
from installer.disks.layout import can_be_kept, mountpoint_of
from installer.disks.prepare import MKFS_TOOLS
from installer.settings import Settings
from node.errors import KitError
from node.run import run

SWAP_TYPES = ("swap", "swsuspend")  # libblkid's names; the latter holds a hibernated system


def kept_file_systems(instance: Instance, settings: Settings) -> dict[int, tuple[str, str]]:
    """The type and UUID of the file system on each data disk of a reinstalled instance, by index.

    Raises:
        KitError: a data disk does not hold a file system, or a swap disk does not hold swap.
            Making a file system or swap there would destroy the data.
    """
    found = {}
    for disk in instance.disks[1:]:
        mountpoint = mountpoint_of(disk.name)
        is_swap = disk.name == "swap" and settings.hook_swap
        is_data = mountpoint is not None and can_be_kept(mountpoint)
        if disk.path is None or not (is_swap or is_data):
            continue
        name = f"disk {disk.index} ({mountpoint or disk.name})"
        maker = "mkswap" if is_swap else "mkfs.ext4"
        afresh = (
            "remove the disk's name to leave it untouched; if you do not need the data, run:"
            f" {maker} {disk.path}"
        )
        probe = run(["blkid", "-p", "-o", "export", disk.path], check=False)
        fields = dict(line.split("=", 1) for line in probe.stdout.splitlines() if "=" in line)
        if not fields:
            # blkid also finds nothing if it does not know the format, or could not read the disk.
            require_blank(Path(disk.path), name, afresh)
            continue
        fstype, uuid = fields.get("TYPE"), fields.get("UUID")
        if is_swap and fstype in SWAP_TYPES:
            continue
        if is_swap or probe.exit_code != 0 or fstype not in MKFS_TOOLS or uuid is None:
            what = fstype or fields.get("PTTYPE") or "data of which blkid is not sure"
            wanted = "not swap" if is_swap else "not a file system that the guest could mount"
            raise KitError(f"{name}: it holds {what}, {wanted}", hint=afresh)
        found[disk.index] = (fstype, uuid)
    return found
