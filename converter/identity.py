"""What tells a target from every other, also after a reboot: for the journal."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from node import udev
from node.block import PROC
from node.stack import loop_status, sysfs, whole_disk

Identity = Mapping[str, str | int]


def identity_of(own: os.stat_result, size: int) -> Identity:
    """The identity of a target.

    Args:
        own: its status.
        size: in bytes; it is part of it.
    """
    if stat.S_ISBLK(own.st_mode):
        return {**_device(own.st_rdev), "size": size}
    return {"device": own.st_dev, "inode": own.st_ino, "size": size}


def _device(number: int) -> dict[str, str | int]:
    entry = sysfs(number)
    # Of an LV: "LVM-", the group's UUID, the volume's.
    if uuid := _text(entry / "dm/uuid"):
        return {"dm": uuid}
    if loop := loop_status(Path("/dev", entry.resolve().name)):
        device, inode = loop.file
        own = {"offset": loop.offset, "length": loop.size}
        return {"loop": f"{device}:{inode}:{loop.number}", **own}
    if (whole := whole_disk(number)) is not None:
        partition = {"partition": _text(entry / "partition"), "start": _text(entry / "start")}
        uuid = udev.properties(number).get("ID_PART_ENTRY_UUID", "")
        return {**_device(whole), **partition, "partition_uuid": uuid}
    # NVMe and SCSI disks have a wwid, virtio disks a serial that their host gave them.
    for name in ("wwid", "device/wwid", "serial", "device/serial"):
        if found := _text(entry / name):
            return {name.rpartition("/")[2]: found}
    known = udev.properties(number)
    for name in ("ID_WWN_WITH_EXTENSION", "ID_SERIAL"):
        if name in known:
            return {name: known[name]}
    # Nothing but its number, which may be another disk's after a reboot.
    boot = _text(PROC / "sys/kernel/random/boot_id")
    return {"number": number, "diskseq": _text(entry / "diskseq"), "boot": boot}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
