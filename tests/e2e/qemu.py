"""Boots a guest's disks by QEMU alone, for machines that Ganeti would set up differently."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .cluster import Cluster
from .console import Console

# Debian 12 has this firmware in two sizes, Debian 13 only in this one.
OVMF_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"


@contextmanager
def booted(
    cluster: Cluster, disks: Sequence[str], *, macs: Sequence[str] = (), uefi: bool = False
) -> Iterator[Console]:
    """Boots disks of a stopped instance and throws away what the guest writes.

    Args:
        cluster: the cluster whose node runs QEMU.
        disks: the disk files on the node, in order.
        macs: of the NICs, in the order of their PCI slots; they are connected to nothing.
        uefi: whether the firmware is OVMF, with its default variables.
    """
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-m", "1024", "-nodefaults"]
    argv += ["-display", "none", "-serial", "stdio", "-snapshot"]
    if uefi:
        # -snapshot also protects the file of variables: this QEMU changes no file.
        argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF_CODE}"]
        argv += ["-drive", f"if=pflash,format=raw,file={OVMF_VARS}"]
    for number, disk in enumerate(disks):
        argv += ["-drive", f"if=none,id=disk{number},format=raw,file={disk}"]
        # Without bootindex, UEFI would first try to boot from the NICs.
        argv += ["-device", f"virtio-blk-pci,drive=disk{number},bootindex={number}"]
    for number, mac in enumerate(macs):
        argv += ["-netdev", f"hubport,id=net{number},hubid={number}"]
        argv += ["-device", f"virtio-net-pci,netdev=net{number},mac={mac},addr={16 + number:#x}"]
    console = Console(cluster.argv(argv))
    try:
        yield console
    finally:
        console.close()
