"""The stopped instance whose guest a sub-verb reads or changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from guest.instance import Instance
from importer import ganeti
from importer.instance import described
from kit.instance_disks import Disks, DisksInactive, stopped_instance
from node.cleanup import undone
from node.errors import KitError
from node.log import step


@dataclass(frozen=True)
class Stopped:
    """An instance as Ganeti describes it, and its disks on this node, in order."""

    instance: Instance
    disks: list[Path]


@contextmanager
def stopped(given: str) -> Iterator[Stopped]:
    """Finds an instance that does not run; its disks are active during the block.

    Args:
        given: its name, or the first part of it.

    Raises:
        KitError: there is none, it runs, or this is not its node.
    """
    cluster = ganeti.of_this_node()
    try:
        active = stopped_instance(given, or_path=False)
    except DisksInactive as error:
        name = error.instance
    else:
        yield _found(active, cluster)
        return
    with step(f"activate the disks of {name}"):
        cluster.run(["gnt-instance", "activate-disks", name])
    with undone(lambda: _deactivate(name, cluster)):
        yield _found(stopped_instance(name, or_path=False), cluster)


def _deactivate(name: str, cluster: ganeti.Ganeti) -> None:
    cluster.run(["gnt-instance", "deactivate-disks", name])


def _found(disks: Disks, cluster: ganeti.Ganeti) -> Stopped:
    if not disks.disks:
        raise KitError(f"instance {disks.instance}: it has no disks", hint="gnt-instance info")
    instance = described(disks.instance, cluster.listed)
    return Stopped(instance, [disk.path for disk in disks.disks])
