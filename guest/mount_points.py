"""Where a guest mounts its file systems, by its fstab (fstab(5)); pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Tags of fstab, and what blkid(8) calls them.
TAGS = {
    "UUID": "UUID",
    "LABEL": "LABEL",
    "PARTUUID": "PART_ENTRY_UUID",
    "PARTLABEL": "PART_ENTRY_NAME",
}
_TAG = re.compile(rf"({'|'.join(TAGS)})=\"?(.*?)\"?")
_LINK = re.compile(r"/dev/disk/by-(uuid|label|partuuid|partlabel)/(.+)")
_DISK = re.compile(r"/dev/(?:[shv]|xv)d([a-z])(\d*)")
_NVME = re.compile(r"/dev/nvme(\d+)n1(?:p(\d+))?")
_VOLUME = re.compile(r"/dev/([^/]+)/([^/]+)")
# Options without which another directory of the file system would be mounted.
_SUBVOLUME = re.compile(r"subvol(id)?=.+")


@dataclass(frozen=True)
class Volume:
    """A file system that is there: its device, and all names of it that an fstab may have."""

    device: str
    names: frozenset[str]


@dataclass(frozen=True)
class Place:
    """A file system that is to be mounted: its device, its mount point, and mount options."""

    device: str
    point: str
    options: tuple[str, ...] = ()


def volume(device: str, properties: Mapping[str, str]) -> Volume:
    """A file system by its names.

    Args:
        device: /dev/sda1 for the first partition of the first disk, /dev/VG/LV for a volume.
        properties: what blkid(8) says of it.
    """
    names = {device}
    for tag, name in TAGS.items():
        if value := properties.get(name):
            names.add(_tag(tag, value))
    if found := _VOLUME.fullmatch(device):
        group, logical = (part.replace("-", "--") for part in found.groups())
        names.add(f"/dev/mapper/{group}-{logical}")
    return Volume(device, frozenset(names))


def places(fstab: str, volumes: Sequence[Volume]) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """The file systems below the root, outer ones first, and what is left out, in words.

    Swap, network file systems, bind mounts and others that are on no disk are not mentioned.

    Args:
        fstab: its text.
        volumes: all file systems of the guest.
    """
    found: dict[str, Place] = {}
    left_out = []
    for line in fstab.split("\n"):
        fields = [_unescaped(field) for field in line.partition("#")[0].split()]
        if len(fields) < 3:
            continue
        spec, point, kind, *rest = fields
        name = _name(spec)
        options = rest[0].split(",") if rest else []
        if name is None or kind == "swap" or not point.startswith("/") or "bind" in options:
            continue
        point = "/" + "/".join(part for part in point.split("/") if part not in ("", "."))
        if point == "/" or ".." in point.split("/") or point in found:
            continue
        device = next((each.device for each in volumes if name in each.names), None)
        if device is None:
            left_out.append(f"{point}: no file system {spec} on the disks")
            continue
        chosen = tuple(option for option in options if _SUBVOLUME.fullmatch(option))
        found[point] = Place(device, point, chosen)
    return tuple(sorted(found.values(), key=lambda each: each.point.count("/"))), tuple(left_out)


def _name(spec: str) -> str | None:
    """The name of a file system as in `Volume.names`; None if it is not a disk's."""
    if found := _TAG.fullmatch(spec):
        return _tag(found[1], found[2])
    if found := _LINK.fullmatch(spec):
        # udev's encoding of what may not be in a file name.
        value = re.sub(r"\\x([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), found[2])
        return _tag(found[1].upper(), value)
    if found := _DISK.fullmatch(spec):
        return f"/dev/sd{found[1]}{found[2]}"
    if found := _NVME.fullmatch(spec):
        return f"/dev/sd{chr(ord('a') + min(int(found[1]), 25))}{found[2] or ''}"
    return spec if spec.startswith("/dev/") else None


def _tag(tag: str, value: str) -> str:
    return f"{tag}={value.lower() if tag.endswith('UUID') else value}"


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
