"""What Ganeti's node daemon keeps on a node: who has a disk, and which process runs an instance."""

from collections.abc import Iterator
from pathlib import Path

from node.processes import process_of_the_node

# Ganeti's pathutils.py; hypervisor/hv_kvm: a file for each running instance.
GANETI = Path("/var/run/ganeti")


def owner_of(path: Path) -> str | None:
    """The instance for which Ganeti has activated a disk; None if it has not.

    Its bdev-cache has a file for each path (backend.py, DevCacheManager: "owner state name"), from
    the activation to the deactivation.

    Args:
        path: as Ganeti names the disk.
    """
    name = str(path).removeprefix("/dev/").replace("/", "_")
    try:
        return (GANETI / f"bdev-cache/bdev_{name}").read_text().split()[0]
    except (OSError, IndexError):
        return None


def disk_links() -> Iterator[tuple[str, int, Path]]:
    """Instance, index and path of the disks of started instances.

    Ganeti keeps a link `instance:index` to each disk (backend.py, _SymlinkBlockDev()), from the
    start of the instance, or `gnt-instance activate-disks`, to its shutdown. It stays when the
    disks are deactivated.
    """
    for link in GANETI.glob("instance-disks/*:*"):
        instance, _, index = link.name.rpartition(":")
        try:
            if index.isdecimal():
                yield instance, int(index), link.readlink()
        except OSError:
            continue


def kvm_process(instance: str) -> int | None:
    """The ID of the process that runs an instance: its command line names the instance."""
    try:
        number = int((GANETI / "kvm-hypervisor/pid" / instance).read_text())
        words = (process_of_the_node(number) / "cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return number if any(instance.encode() in word for word in words) else None
