"""Whether the kernel that boots has the drivers for the instance's disks. Pure."""

import re
from collections.abc import Iterable, Iterator

from importer.check.facts import Facts
from node.finding import Finding, note, ok, problem

_ABOUT = "drivers"
_MODULE = re.compile(r"/(virtio[a-z_-]*)\.ko")
# Ganeti's disk types, and the drivers without which the root is not found.
NEEDED = {"paravirtual": ("virtio_pci", "virtio_blk")}
SCSI = ("virtio_pci", "virtio_scsi")


def needed(facts: Facts) -> tuple[str, ...]:
    """The drivers for the instance's disks that an initramfs must have; none for other types."""
    hv = facts.instance.hv
    if hv.get("scsi_controller_type") == "virtio-scsi-pci" and hv["disk_type"].startswith("scsi"):
        return SCSI
    return NEEDED.get(hv.get("disk_type", ""), ())


def modules(names: Iterable[str]) -> frozenset[str]:
    """The names of virtio's drivers among paths of modules, with _ as lsmod(8) has them."""
    found = (_MODULE.search(f"/{name}") for name in names)
    return frozenset(match[1].replace("-", "_") for match in found if match)


def check(facts: Facts) -> Iterator[Finding]:
    """A finding of the kernel that boots."""
    wanted = needed(facts)
    if not wanted:
        return
    kernel = facts.kernel
    if kernel is None:
        yield note(_ABOUT, "no kernel was found in /boot", "is /boot another file system?")
        return
    missing = [name for name in wanted if name not in kernel.builtin]
    if missing and kernel.initramfs is None:
        yield note(
            _ABOUT, f"initramfs of {kernel.version}: {kernel.why}", "lsinitramfs in the guest"
        )
        return
    missing = [name for name in missing if name not in (kernel.initramfs or ())]
    if missing:
        yield problem(
            _ABOUT,
            f"initramfs of {kernel.version}: it lacks {', '.join(missing)}: the root is not found",
            "boot the source, add them to /etc/initramfs-tools/modules, update-initramfs -u; or"
            " gnt-instance modify -H disk_type=ide",
        )
    else:
        yield ok(_ABOUT, f"kernel {kernel.version} has {' and '.join(wanted)}")
