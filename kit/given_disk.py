"""The disk that a user gives by its path, or by its instance and number."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from backup.options import Origin
from kit.instance_disks import Disks, InstanceDisk, stopped_instance
from node import ganeti
from node.devices.stack import backing_id
from node.errors import KitError

HELP = "path of a block device or file; or an instance whose disks are active on this node"


@dataclass(frozen=True)
class GivenDisk:
    """A disk, whose it is, and whether it was given by the name of its instance."""

    path: str
    origin: Origin
    by_name: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that `found` takes."""
    parser.add_argument("disk", metavar="DISK|INSTANCE", help=HELP)
    parser.add_argument(
        "--disk",
        dest="number",
        type=_number,
        metavar="N",
        help="of INSTANCE; needed if it has several",
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text}: not a number of a disk, like 0")
    return int(text)


def found(given: str, number: int | None) -> GivenDisk:
    """Finds a disk; names of instances have no slash.

    Args:
        given: a path, or an instance's name or the first part of it.
        number: of the instance's disk.

    Raises:
        KitError: there is no such instance or disk here, or the instance runs.
    """
    if "/" in given or not given:
        if number is not None:
            raise KitError(
                f"--disk {number}: {given} is a path", hint="it goes with the name of an instance"
            )
        return GivenDisk(given, _origin(given), by_name=False)
    disks = stopped_instance(given)
    disk = _chosen(disks, number)
    origin = Origin(disks.instance, disk.index, disk.name)
    return GivenDisk(str(disk.path), origin, by_name=True)


def _chosen(disks: Disks, number: int | None) -> InstanceDisk:
    if number is None and len(disks.disks) == 1:
        return disks.disks[0]
    for disk in disks.disks:
        if disk.index == number:
            return disk
    listed = ", ".join(f"{disk.index}: {disk.path}" for disk in disks.disks) or "none"
    problem = "it has several disks" if number is None and disks.disks else "it has no such disk"
    raise KitError(f"instance {disks.instance}: {problem}", hint=f"--disk N; its disks: {listed}")


def _origin(path: str) -> Origin:
    """Whose disk it is, if Ganeti has it active; else nothing."""
    try:
        wanted = backing_id(Path(path).stat())
        for instance, index, link in ganeti.disk_links():
            # Files may be on a server that does not answer: only devices are compared.
            if (
                (str(link) == path or link.is_relative_to("/dev"))
                and backing_id(link.stat()) == wanted
                and ganeti.owner_of(link) == instance
            ):
                return Origin(instance, index)
    except (OSError, ValueError):  # ValueError: the path has a NUL
        pass
    return Origin()
