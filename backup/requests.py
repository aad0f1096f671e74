"""What Ganeti asks an export or import for, by the environment (ganeti-os-interface(7))."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from backup.options import Origin
from guest.instance import Instance
from installer.inputs import read_instance
from node.errors import KitError

_NUMBER = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Request:
    """One disk of one instance."""

    instance: str
    device: str  # a block device or file; of an export, it may be a snapshot of the disk
    index: int
    name: str | None  # the disk's, in Ganeti
    size_fd: int | None = None  # takes the size that is expected
    use_kvm: bool = False  # whether the instance does

    @property
    def origin(self) -> Origin:
        """The disk for a stream's header."""
        return Origin(self.instance, self.index, self.name)


def read_request(environ: Mapping[str, str], script: str) -> Request:
    """Reads what is asked for.

    Args:
        environ: the environment.
        script: export or import.

    Raises:
        KitError: a variable is missing or makes no sense.
    """
    instance = read_instance(environ)
    prefix = script.upper()
    device = environ.get(f"{prefix}_DEVICE", "")
    index = environ.get(f"{prefix}_INDEX", "")
    if not device or not _NUMBER.fullmatch(index):
        raise KitError(
            f"environment of the OS script: {prefix}_DEVICE={device!r}, {prefix}_INDEX={index!r}",
            hint="this program is run by Ganeti; a disk without a path on this node (userspace"
            " access) cannot be exported or imported",
        )
    return Request(
        instance=instance.name,
        device=device,
        index=int(index),
        name=_name(instance, int(index)),
        use_kvm=instance.hv.get("kvm_flag") != "disabled",
        size_fd=_size_fd(environ) if script == "export" else None,
    )


def _size_fd(environ: Mapping[str, str]) -> int | None:
    """None for the standard streams, too: the size would be in the stream, or they be closed."""
    given = environ.get("EXP_SIZE_FD", "")
    return int(given) if _NUMBER.fullmatch(given) and int(given) > 2 else None


def _name(instance: Instance, index: int) -> str | None:
    return next((disk.name for disk in instance.disks if disk.index == index), None)
