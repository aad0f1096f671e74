"""The disks of an instance on this node, by the links that Ganeti keeps while they are active.

Ganeti tells only its master which disks an instance has. But on the node that runs an instance it
keeps a link to each of its disks (_SymlinkBlockDev() of Ganeti's backend.py): from the start of the
instance, or `gnt-instance activate-disks`, to its shutdown. `deactivate-disks` keeps the links, so
what they lead to is compared with what else Ganeti left on the node.
"""

import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit import cluster
from node.devices.lvm import volume, volume_of
from node.devices.stack import backing_chain, backing_id, sysfs
from node.errors import KitError
from node.files import kernel_text, read_text
from node.processes import of_the_node

LINKS = Path("/run/ganeti/instance-disks")  # pathutils.DISK_LINKS_DIR of Ganeti
KVM_PIDS = Path("/run/ganeti/kvm-hypervisor/pid")
# What gnt-instance(8) says of an instance in the field `status` while it runs somewhere.
RUNNING = ("running", "ERROR_up", "ERROR_wrongnode")
# Ganeti tags the LVs that it makes with the name of their instance (GetInstanceInfoText()), and
# cuts tags at 128 characters. Adopted LVs have no tag until their instance is renamed.
_TAG, _TAG_LENGTH = "originstname+", 128
_LINK = re.compile(r"(?P<instance>.+):(?P<index>\d+)")


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


def instance_disks(given: str) -> Disks:
    """Finds the disks of an instance on this node.

    Args:
        given: its name, or the first part of it if only one instance has that.

    Raises:
        KitError: there is no such instance, its disks are not active here, or it is not certain
            that they are its disks, or are used on this node only.
    """
    name = _full_name(given)
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
            _require_local(name, disk)
    running = f"Ganeti says: {status}" if status in RUNNING else _kvm_process(name)
    return Disks(name, disks, running)


def _full_name(given: str) -> str:
    if not cluster.is_instance_name(given):
        raise KitError(f"instance {given!r}: not a name of an instance", hint="gnt-instance list")
    if not any(cluster.ssconf("master_node")):
        raise KitError(
            f"instance {given}: this node is in no Ganeti cluster",
            hint="a disk can be given by its path instead, with a slash in it",
        )
    if (name := cluster.full_name(given)) is None:
        raise KitError(
            f"instance {given}: Ganeti has none of that name",
            hint="gnt-instance list; a disk can be given by its path instead, with a slash in it",
        )
    return name


def _links(name: str) -> dict[int, Path]:
    """What the links of an instance lead to, by index."""
    found = {}
    for link in LINKS.glob("*:*"):
        matched = _LINK.fullmatch(link.name)
        if matched and matched["instance"] == name and link.is_symlink():
            found[int(matched["index"])] = link.readlink()
    return dict(sorted(found.items()))


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
        raise KitError(
            f"disks of {name}: not active on this node ({cluster.this_node()})",
            hint=f"{_activate(name)}; then run this on its primary node:"
            f" gnt-instance list -o pnode {name}",
        )
    expected = len(indices) if count is None else int(count)
    if list(indices) != list(range(expected)):
        raise KitError(
            f"disks of {name}: there are links in {LINKS} for {', '.join(map(str, indices))} only,"
            " not for all disks",
            hint=_activate(name),
        )


def _checked(name: str, index: int, path: Path) -> Path:
    """The path of a disk that is there, and is no other instance's by now.

    Raises:
        KitError: it is not there, or may be another's.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise KitError(
            f"disk {index} of {name}: {path}: {error.strerror}", hint=_activate(name)
        ) from error
    if not stat.S_ISBLK(status.st_mode):
        return path  # a file, which has the name of its instance and a UUID in its path
    volumes = [
        volume(*found)
        for number in backing_chain(backing_id(status))
        if isinstance(number, int) and (found := volume_of(number))
    ]
    owners = {tag for each in volumes for tag in each.tags if tag.startswith(_TAG)}
    if owners - {f"{_TAG}{name}"[:_TAG_LENGTH]}:
        raise KitError(
            f"disk {index} of {name}: {path} is a disk of"
            f" {', '.join(sorted(owner.removeprefix(_TAG) for owner in owners))} by its LVM tag",
            hint=_activate(name),
        )
    # Minor numbers of DRBD are used again; the names of LVs have a UUID.
    if _is_drbd(status.st_rdev) and not owners:
        raise KitError(
            f"disk {index} of {name}: {path}: its volumes have no LVM tag that says whose disk it"
            " is",
            hint=f"if `{_activate(name)}` prints that path, it can be given instead of the name",
        )
    return path


def _is_drbd(number: int) -> bool:
    return sysfs(number).resolve().name.startswith("drbd")


def _require_local(name: str, disk: InstanceDisk) -> None:
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
            hint=f"on the master: gnt-instance list -o name,pnode,status {name}; if it is stopped,"
            " the path can be given instead of the name",
        )


def _kvm_process(name: str) -> str | None:
    """The QEMU of an instance by Ganeti's PID file, in words; None if it is not there."""
    try:
        pid = read_text(KVM_PIDS / name, errors="replace").strip()
        process = next((each for each in of_the_node() if each.name == pid), None)
        arguments = kernel_text(process / "cmdline").split("\0") if process else []
    except OSError:
        return None
    return f"its QEMU is process {pid}" if name in arguments else None
