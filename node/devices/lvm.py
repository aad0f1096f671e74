"""Logical volumes: reads what LVM reports, makes and removes volumes."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple

from node import text
from node.cleanup import Terminated, signals_deferred
from node.devices.stack import sysfs
from node.errors import KitError
from node.log import log
from node.run import run

FIELDS = ("vg_name", "lv_name", "lv_uuid", "lv_size", "pool_lv", "origin", "lv_tags", "lv_attr")
REPORT = ("--reportformat", "json", "--nosuffix", "--units", "b")
# Device mapper joins the names of group and volume by a hyphen and doubles hyphens in them
# (dm_build_dm_name() of lvm2). Internal devices have a third part: vg-pool-tpool.
_DM_NAME = re.compile(r"((?:[^-]|--)+)-((?:[^-]|--)+)")
_ZEROES = 7  # place in lv_attr (lvs(8)): whether new blocks are zeroed before use
_THIN_POOL, _VOLUME_TYPE = "t", 0
_OPEN = 5  # place in lv_attr


@dataclass(frozen=True)
class LogicalVolume:
    """A logical volume; the size in bytes, "" for a property that it does not have."""

    vg: str
    name: str
    uuid: str
    size: int
    pool: str = ""
    origin: str = ""
    tags: tuple[str, ...] = ()
    attr: str = ""

    @property
    def path(self) -> Path:
        """Its device; it exists while the volume is active."""
        return Path("/dev", self.vg, self.name)

    @property
    def is_open(self) -> bool:
        """Whether something has its device open."""
        return self.attr[_OPEN : _OPEN + 1] == "o"

    @property
    def zeroes_new_blocks(self) -> bool:
        """Whether bytes that were never written read as zeros, also next to written ones.

        Not in a thin pool made with `--zero n`: a write there allocates a block (64 KiB or more),
        and the rest of the block holds old data of another volume.
        """
        return bool(self.pool) and self.attr[_ZEROES : _ZEROES + 1] == "z"


class VolumeGroup(NamedTuple):
    """A volume group of this node: the size of its extents and its free space, bytes."""

    name: str
    extent: int
    free: int

    def whole_extents(self, size: int) -> int:
        """The size of a volume for `size` bytes."""
        return -(-size // self.extent) * self.extent


def names(dm_name: str) -> tuple[str, str] | None:
    """The volume group and volume in a device mapper name; None if it has another form."""
    found = _DM_NAME.fullmatch(dm_name)
    return (found[1].replace("--", "-"), found[2].replace("--", "-")) if found else None


def volume_of(number: int) -> tuple[str, str] | None:
    """The volume group and volume of an active LV, by its device number; None for other devices.

    It is read from sysfs, without LVM's tools or udev.
    """
    dm = sysfs(number) / "dm"
    try:
        if not (dm / "uuid").read_text().startswith("LVM-"):
            return None
        return names((dm / "name").read_text().strip())
    except FileNotFoundError:
        return None


@contextmanager
def created(
    vg: str,
    name: str,
    size: int,
    pool: str | None = None,
    *,
    keep: Callable[[BaseException], bool] = lambda failure: isinstance(failure, Terminated),
) -> Iterator[LogicalVolume]:
    """Makes an LV of at least `size` bytes; removes it again if the block fails.

    After a failure that is worth it the LV stays: by default after a signal, so that an interrupted
    copy can be resumed.

    Args:
        vg: the volume group.
        name: of the new LV.
        size: bytes; rounded up to whole extents.
        pool: a thin pool of the group, for a thin LV.
        keep: whether the LV is to stay after this failure.

    Raises:
        KitError: no such volume group or pool, the name is taken, or there is too little space.
    """
    found = group(vg)
    size = found.whole_extents(size)
    _check(vg, name, size, pool, found)
    with signals_deferred():  # so that a volume that was made is always removed
        run(create_argv(vg, name, size, pool), what=f"lvcreate of {vg}/{name}")
        made = volume(vg, name)
    try:
        yield made
    except BaseException as failure:
        if not keep(failure):
            try:
                remove(made)
            except KitError as error:  # the first error is the one to raise
                log.warning("%s", error.message)
        raise


def create(vg: str, name: str, size: int, *, tags: Sequence[str]) -> LogicalVolume:
    """Makes an LV of `size` bytes that stays; what it holds may be anything.

    Args:
        vg: the volume group.
        name: of the new LV.
        size: bytes, a multiple of the extent size.
        tags: of the new LV.

    Raises:
        KitError: LVM fails.
    """
    more = ["--size", f"{size}b", *(word for tag in tags for word in ("--addtag", tag))]
    argv = ["lvcreate", "--yes", *more, "--name", name, vg]
    run(argv, what=f"lvcreate of {vg}/{name}")
    return volume(vg, name)


def create_argv(vg: str, name: str, size: int, pool: str | None) -> list[str]:
    """The lvcreate(8) command for a volume of `size` bytes, a multiple of the extent size."""
    if pool is not None:
        kind = ["--thinpool", pool, "--virtualsize", f"{size}b"]
    else:
        kind = ["--size", f"{size}b", "--wipesignatures", "y", "--zero", "y"]
    return ["lvcreate", "--yes", *kind, "--name", name, vg]


def remove(unwanted: LogicalVolume) -> None:
    """Removes an LV.

    Raises:
        KitError: it is in use, or LVM fails.
    """
    # By its UUID, too: another volume may have its name by now.
    chosen = f"lv_uuid={unwanted.uuid}"
    argv = ["lvremove", "--yes", "--select", chosen, f"{unwanted.vg}/{unwanted.name}"]
    run(argv, what=f"lvremove of {unwanted.vg}/{unwanted.name}")


def rename(renamed: LogicalVolume, name: str) -> None:
    """Gives an LV another name.

    Raises:
        KitError: the name is taken, or LVM fails.
    """
    argv = ["lvrename", "--yes", renamed.vg, renamed.name, name]
    run(argv, what=f"lvrename of {renamed.vg}/{renamed.name}")


def retag(tagged: LogicalVolume, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
    """Changes the tags of an LV; it may have those to add already, and lack those to remove.

    Raises:
        KitError: LVM fails.
    """
    run(retag_argv(tagged, add, remove), what=f"lvchange of {tagged.vg}/{tagged.name}")


def retag_argv(tagged: LogicalVolume, add: Sequence[str], remove: Sequence[str]) -> list[str]:
    """The lvchange(8) command for other tags."""
    words = [word for tag in add for word in ("--addtag", tag)]
    words += [word for tag in remove for word in ("--deltag", tag)]
    return ["lvchange", "--yes", *words, f"{tagged.vg}/{tagged.name}"]


def _check(vg: str, name: str, size: int, pool: str | None, group: VolumeGroup) -> None:
    listed = _report("lv", ["lvs", *REPORT, "-o", "lv_name,lv_attr", vg])
    types = {row["lv_name"]: row["lv_attr"][_VOLUME_TYPE] for row in listed}
    if name in types:
        raise KitError(
            f"new volume {vg}/{name}: the name is taken",
            hint=f"use it as the target, /dev/{vg}/{name}, or remove it: lvremove {vg}/{name}",
        )
    if pool is None:
        if size > (free := group.free):
            raise KitError(
                f"new volume {vg}/{name}: it needs {text.size(size, ceil)}, and {vg} has"
                f" {text.size(free, floor)} free: {text.size(size - free, ceil)} too little",
                hint=f"vgextend {vg}, or choose another volume group (vgs lists them)",
            )
    elif types.get(pool) != _THIN_POOL:
        raise KitError(
            f"new volume {vg}/{name}: {vg} has no thin pool {pool}",
            hint="thin pools there: "
            + (", ".join(n for n, kind in types.items() if kind == _THIN_POOL) or "none"),
        )


def groups() -> dict[str, VolumeGroup]:
    """The volume groups of this node, by name.

    Raises:
        KitError: LVM's tools fail.
    """
    rows = _report("vg", ["vgs", *REPORT, "-o", "vg_name,vg_extent_size,vg_free"])
    return {
        row["vg_name"]: VolumeGroup(row["vg_name"], int(row["vg_extent_size"]), int(row["vg_free"]))
        for row in rows
    }


def group(vg: str) -> VolumeGroup:
    """A volume group.

    Raises:
        KitError: there is none of that name, or LVM's tools fail.
    """
    found = groups()
    if vg not in found:
        raise KitError(
            f"volume group {vg}: this node has none of that name",
            hint="volume groups of this node: " + (", ".join(sorted(found)) or "none"),
        )
    return found[vg]


def volumes() -> list[LogicalVolume]:
    """What LVM knows of all volumes of this node.

    Raises:
        KitError: LVM's tools fail.
    """
    return list(map(_volume, _report("lv", ["lvs", *REPORT, "-o", ",".join(FIELDS)])))


def volume(vg: str, name: str) -> LogicalVolume:
    """What LVM knows of a volume.

    Raises:
        KitError: there is none of that name, or LVM's tools fail.
    """
    rows = _report("lv", ["lvs", *REPORT, "-o", ",".join(FIELDS), f"{vg}/{name}"])
    if len(rows) != 1:
        raise KitError(
            f"lvs of {vg}/{name}: {len(rows)} volumes instead of one",
            hint=f"see the output of `lvs {vg}`",
        )
    return _volume(rows[0])


def _volume(row: Mapping[str, str]) -> LogicalVolume:
    return LogicalVolume(
        vg=row["vg_name"],
        name=row["lv_name"],
        uuid=row["lv_uuid"],
        size=int(row["lv_size"]),
        pool=row["pool_lv"],
        origin=row["origin"],
        tags=tuple(tag for tag in row["lv_tags"].split(",") if tag),
        attr=row["lv_attr"],
    )


def _report(kind: str, argv: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a JSON report of LVM (lvmreport(7)); `kind` is vg or lv."""
    printed = run(argv, what=" ".join([argv[0], *argv[len(REPORT) + 3 :]])).stdout
    try:
        rows: list[dict[str, str]] = json.loads(printed)["report"][0][kind]
    except (ValueError, LookupError) as error:
        raise KitError(
            f"{argv[0]}: its report cannot be parsed: {error}",
            hint=f"see the output of `{argv[0]} --reportformat json`",
        ) from error
    return rows
