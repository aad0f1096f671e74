"""The disks of an instance on this node, by what Ganeti keeps there while they are active.

Ganeti tells only its master which disks an instance has. But on the node it keeps a link to each
disk that is active, and a record of the owner of each active path (`node.ganeti`). Links stay when
disks are deactivated, and numbers of DRBD devices are used again: only both together count.
"""

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node import cluster, ganeti
from node.devices.lvm import volume_of
from node.devices.stack import sysfs
from node.errors import KitError

# What gnt-instance(8) says of an instance in the field `status` while it runs somewhere.
RUNNING = ("running", "ERROR_up", "ERROR_wrongnode")
_BY_PATH = "a disk can be given by its path instead, with a slash in it"


class DisksInactive(KitError):  # noqa: N818 - as in `except DisksInactive`
    """Not all disks of an instance are active on this node; `instance` is its full name."""

    def __init__(self, instance: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.instance = instance


@dataclass(frozen=True)
class InstanceDisk:
    """A disk of an instance.

    Attributes:
        index: Ganeti's number of it.
        name: the user's name of it; None if it has none, or if this node cannot tell.
        path: the block device or file on this node.
    """

    index: int
    name: str | None
    path: Path


@dataclass(frozen=True)
class Disks:
    """An instance on this node.

    Attributes:
        instance: its full name.
        disks: all its disks, by index.
        running: how this node knows that it runs, in words; None if it does not run, as far as
            this node can tell.
    """

    instance: str
    disks: tuple[InstanceDisk, ...]
    running: str | None


def stopped_instance(given: str, *, or_path: bool = True) -> Disks:
    """Finds the disks of an instance on this node that does not run.

    Args:
        given: as for `instance_disks`.
        or_path: likewise.

    Raises:
        KitError: it runs; and as `instance_disks`.
    """
    disks = instance_disks(given, or_path=or_path)
    if disks.running is not None:
        name = disks.instance
        raise KitError(
            f"instance {name}: it is running ({disks.running})",
            hint=f"gnt-instance shutdown {name}; gnt-instance activate-disks {name}",
        )
    return disks


def instance_disks(given: str, *, or_path: bool = True) -> Disks:
    """Finds the disks of an instance on this node.

    Args:
        given: its name, or the first part of it if only one instance has that.
        or_path: whether the command takes the path of a disk, too; for hints.

    Raises:
        KitError: there is no such instance, its disks are not active here, or it is not certain
            that they are its disks, or are used on this node only.
    """
    name = _full_name(given, or_path=or_path)
    links = _links(name)
    fields = ("pnode", "status", "disk.count", *(f"disk.name/{index}" for index in links))
    told = cluster.listed(name, *fields)
    unknown = (None, None, None, *[None] * len(links))
    primary, status, count, *labels = unknown if told is None else told
    if primary not in (None, cluster.this_node()):
        raise KitError(
            f"disks of {name}: its primary node is {primary}, not this one ({cluster.this_node()})",
            hint=f"run this on {primary}",
        )
    _require_complete(name, list(links), count)
    disks = tuple(
        InstanceDisk(
            index, None if label in (None, "", "-") else label, _checked(name, index, path)
        )
        for (index, path), label in zip(links.items(), labels, strict=True)
    )
    if told is None:
        for disk in disks:
            _require_local(name, disk, or_path=or_path)
    running = f"Ganeti says: {status}" if status in RUNNING else None
    if running is None and (process := ganeti.kvm_process(name)):
        running = f"its QEMU is process {process}"
    return Disks(name, disks, running)


def _full_name(given: str, *, or_path: bool) -> str:
    if not cluster.is_instance_name(given):
        raise KitError(f"instance {given!r}: not a name of an instance", hint="gnt-instance list")
    if not any(cluster.ssconf("master_node")):
        raise KitError(
            f"instance {given}: this node is in no Ganeti cluster",
            hint=_BY_PATH if or_path else "run this on a node of the cluster",
        )
    if (name := cluster.full_name(given)) is None:
        raise KitError(
            f"instance {given}: Ganeti has none of that name",
            hint=f"gnt-instance list; {_BY_PATH}" if or_path else "gnt-instance list",
        )
    return name


def _links(name: str) -> dict[int, Path]:
    """What the links of an instance lead to, by index."""
    return {
        index: path for instance, index, path in sorted(ganeti.disk_links()) if instance == name
    }


def _activate(name: str) -> str:
    master = next(iter(cluster.ssconf("master_node")), "")
    where = "" if master == cluster.this_node() else f"on the master {master}: "
    return f"{where}gnt-instance activate-disks {name}"


def _require_complete(name: str, indices: Sequence[int], count: str | None) -> None:
    """Refuses links that are not those of all disks.

    Args:
        name: of the instance.
        indices: of the links.
        count: how many disks the instance has; None if this node cannot tell.

    Raises:
        KitError: links are missing.
    """
    if not indices and count != "0":
        elsewhere = f"; then run this on its primary node: gnt-instance list -o pnode {name}"
        raise DisksInactive(
            name,
            f"disks of {name}: not active on this node ({cluster.this_node()})",
            hint=_activate(name) + (elsewhere if count is None else ""),
        )
    expected = len(indices) if count is None else int(count)
    if list(indices) != list(range(expected)):
        raise DisksInactive(
            name,
            f"disks of {name}: only disk {', '.join(map(str, indices))} active on this node,"
            " not all of them",
            hint=_activate(name),
        )


def _checked(name: str, index: int, path: Path) -> Path:
    """The path of a disk that is there and active.

    Raises:
        KitError: it is not there, is not active, or is another instance's by now.
    """
    try:
        path.stat()
    except OSError as error:
        raise DisksInactive(
            name, f"disk {index} of {name}: {path}: {error.strerror}", hint=_activate(name)
        ) from error
    owner = ganeti.owner_of(path)
    if owner != name:
        why = f"it is a disk of {owner} now" if owner else "it is not active any more"
        raise DisksInactive(name, f"disk {index} of {name}: {path}: {why}", hint=_activate(name))
    return path


def _is_drbd(number: int) -> bool:
    return sysfs(number).resolve().name.startswith("drbd")


def _require_local(name: str, disk: InstanceDisk, *, or_path: bool) -> None:
    """Refuses a disk that another node may use, where only the master knows which one does.

    Raises:
        KitError: it is on shared storage.
    """
    status = disk.path.stat()
    if stat.S_ISBLK(status.st_mode):
        local = _is_drbd(status.st_rdev) or volume_of(status.st_rdev) is not None
    else:
        keys = ("shared_file_storage_dir", "gluster_storage_dir")
        shared = [line for key in keys for line in cluster.ssconf(key) if line]
        real = disk.path.resolve()
        local = not any(real.is_relative_to(Path(each).resolve()) for each in shared)
    if not local:
        raise KitError(
            f"disk {disk.index} of {name}: {disk.path} may be on storage that nodes share, and this"
            " node cannot tell whether another one uses it",
            hint=f"on the master: gnt-instance list -o name,pnode,status {name}"
            + ("; if it is stopped, the path can be given instead of the name" if or_path else ""),
        )
