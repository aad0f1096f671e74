"""What a reinstall finds on data disks and keeps; it refuses what making anew would destroy."""

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
    """The file systems that the data disks of a reinstalled instance hold, by disk index.

    Raises:
        KitError: a data disk holds something else, or a disk for swap something but swap: making
            a file system or swap there would destroy it.
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
            "take its name away to leave it alone; to start afresh there, make it what it should"
            f" be: {maker} {disk.path}"
        )
        probe = run(["blkid", "-p", "-o", "export", disk.path], check=False)
        fields = dict(line.split("=", 1) for line in probe.stdout.splitlines() if "=" in line)
        if not fields:
            # It finds nothing also in what it does not know, or could not read.
            require_blank(Path(disk.path), name, afresh)
            continue
        fstype, uuid = fields.get("TYPE"), fields.get("UUID")
        if is_swap and fstype in SWAP_TYPES:
            continue
        if is_swap or probe.exit_code != 0 or fstype not in MKFS_TOOLS or uuid is None:
            what = fstype or fields.get("PTTYPE") or "what blkid cannot tell for sure"
            wanted = "no swap" if is_swap else "no file system that the guest could mount there"
            raise KitError(f"{name}: it holds {what}, and {wanted}", hint=afresh)
        found[disk.index] = (fstype, uuid)
    return found
