"""Identities of files and devices that stay unique across reboots; the journal stores them."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from node.devices import udev
from node.devices.stack import loop_status, sysfs, whole_disk
from node.files import kernel_text
from node.processes import PROC
from node.syscalls import birth

Identity = Mapping[str, str | int]


def identity_of(fd: int, size: int, known: Mapping[str, str] | None = None) -> Identity:
    """The identity of an open file or block device.

    Inode numbers are reused after a file is removed, so the identity has the file's birth time too.
    If the file system does not store one, "birth" is missing: see `is_certain`.

    Args:
        fd: of the file or device.
        size: in bytes; it is part of the identity.
        known: its udev properties, if udev was asked already.
    """
    own = os.fstat(fd)
    if stat.S_ISBLK(own.st_mode):
        return {**_device(own.st_rdev, known), "size": size}
    return {"device": own.st_dev, "inode": own.st_ino, **_born(fd), "size": size}


def is_certain(identity: Identity) -> bool:
    """Whether no later file or device can have the same identity."""
    return ("inode" not in identity or "birth" in identity) and identity.get("diskseq") != ""


def _born(fd: int) -> dict[str, str | int]:
    found = birth(fd)
    return {} if found is None else {"birth": found}


def _device(number: int, known: Mapping[str, str] | None = None) -> dict[str, str | int]:
    entry = sysfs(number)
    # For an LV: "LVM-", the UUID of the group, the UUID of the volume.
    if uuid := _text(entry / "dm/uuid"):
        return {"dm": uuid}
    if loop := loop_status(Path("/dev", entry.resolve().name)):
        own = {"offset": loop.offset, "length": loop.size}
        if loop.number:
            return {"loop": json.dumps(_device(loop.number), sort_keys=True), **own}
        if backing := _backing(entry / "loop/backing_file", loop.file):
            device, inode = loop.file
            return {"loop": f"{device}:{inode}, {backing}", **own}
        return _passing(number)
    if (whole := whole_disk(number)) is not None:
        partition = {"partition": _text(entry / "partition"), "start": _text(entry / "start")}
        uuid = (known or udev.properties(number)).get("ID_PART_ENTRY_UUID", "")
        return {**_device(whole), **partition, "partition_uuid": uuid}
    # NVMe and SCSI disks have a wwid, virtio disks a serial that their host gave them.
    for name in ("wwid", "device/wwid", "serial", "device/serial"):
        if found := _text(entry / name):
            return {name.rpartition("/")[2]: found}
    properties = known or udev.properties(number)
    for name in ("ID_WWN_WITH_EXTENSION", "ID_SERIAL"):
        if name in properties:
            return {name: properties[name]}
    return _passing(number)


def _passing(number: int) -> dict[str, str | int]:
    """An identity for this boot only: after a reboot, another disk may have the number."""
    return {"number": number, "diskseq": diskseq(number), "boot": boot_id()}


def boot_id() -> str:
    """The ID of this boot of the node."""
    return _text(PROC / "sys/kernel/random/boot_id")


def diskseq(number: int) -> str:
    """What distinguishes a device from others that have its number in this boot; "" if unknown."""
    return _text(sysfs(number) / "diskseq")


def _backing(name: Path, file: tuple[int, int]) -> str | None:
    """The birth time of a loop device's file, given by device and inode; None if not found.

    Its name may belong to another mount namespace, or to another file by now.
    """
    try:
        fd = os.open(_text(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        own = os.fstat(fd)
        return birth(fd) if (own.st_dev, own.st_ino) == file else None
    finally:
        os.close(fd)


def _text(path: Path) -> str:
    try:
        return kernel_text(path).strip()
    except OSError:
        return ""
