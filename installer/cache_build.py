"""Makes a cache without a guest, also while creates use the old one."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from installer import create, debootstrap
from installer.bootstrap import cache, cache_directory, mirror_check
from installer.create import Decided
from installer.disks import prepare
from node.devices.claim import Backing
from node.devices.loop import FULL_BELOW
from node.errors import KitError
from node.lockfile import part_of

# Bytes of the disk for the bootstrap. It is a sparse file.
DISK_SIZE = 32 << 30
# RFC 2606 reserves this top-level domain. The guest is thrown away.
INSTANCE = "cache.invalid"


def environment(variant: str, hypervisor: str, hv: Mapping[str, str], disk: Path) -> dict[str, str]:
    """What Ganeti would say of an instance with one disk, no network card and no OS parameters.

    Args:
        variant: of the OS; "" for none.
        hypervisor: decides whether guests get a kernel and a boot loader.
        hv: its parameters, as Ganeti has them.
        disk: a file of DISK_SIZE.
    """
    os_name = f"debootstrap+{variant}" if variant else "debootstrap"
    return {
        "OS_API_VERSION": "20",
        "INSTANCE_NAME": INSTANCE,
        "INSTANCE_OS": os_name,
        "OS_VARIANT": variant,
        "HYPERVISOR": hypervisor,
        "DISK_COUNT": "1",
        "DISK_0_PATH": str(disk),
        "DISK_0_ACCESS": "rw",
        "NIC_COUNT": "0",
        **{f"INSTANCE_HV_{key}": text for key, text in hv.items()},
    }


class Builder:
    """Decides as creates on this node do, and makes their caches.

    Args:
        os_dir: the OS definition's directory.
        hypervisor: the cluster's.
        hv: its parameters, as Ganeti has them.
    """

    def __init__(self, os_dir: Path, hypervisor: str, hv: Mapping[str, str]) -> None:
        self._os_dir = os_dir
        self._hypervisor = hypervisor
        self._hv = hv

    def decide(self, variant: str) -> Decided:
        """The decisions of a create of a variant without OS parameters.

        Raises:
            KitError: the create would refuse.
        """
        with _imaginary_disk() as disk:
            environ = environment(variant, self._hypervisor, self._hv, disk)
            return create.decide(environ, self._os_dir)

    def renew(self, decided: Decided) -> Path:
        """Makes the cache that a create would use, also if there is one; returns its path.

        Must be called within `node.isolation.namespace.contained`.

        Raises:
            KitError: as a create, or it cannot be kept.
        """
        settings, plan = decided.context.settings, decided.plan
        directory = cache_directory.usable(settings)
        if directory is None:
            raise KitError(
                f"cache directory {settings.cache_dir}: it cannot be made",
                hint="make room on its file system, or correct CACHE_DIR",
            )
        create.check(decided)
        if (directory / cache.file_name(plan)).exists():  # else `create.check` has asked them
            mirror_check.check(plan)
        layout = decided.context.layout
        with part_of(directory / cache_directory.BUILD) as (disk, descriptor):
            os.truncate(descriptor, DISK_SIZE)
            backings = {0: Backing(disk, DISK_SIZE, descriptor, is_block=False)}
            try:
                with prepare.prepared(layout, settings.suite, backings) as made:
                    return cache.renew(made.root, plan, settings, debootstrap.bootstrap)
            except KitError as error:
                room = os.fstatvfs(descriptor)
                if room.f_blocks and room.f_bfree * room.f_frsize < FULL_BELOW:
                    raise KitError(
                        f"cache directory {directory}: its file system became full:"
                        f" {error.message}",
                        hint="make room there: a bootstrap takes about 2 GiB for a while;"
                        " instance-kit cache prune",
                    ) from error
                raise


@contextmanager
def _imaginary_disk() -> Iterator[Path]:
    """A disk of which only the size is needed."""
    descriptor = os.memfd_create("disk")
    try:
        os.truncate(descriptor, DISK_SIZE)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
