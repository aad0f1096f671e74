"""The libguestfs appliance: a small virtual machine in which foreign file systems are opened.

The node's own kernel never mounts a guest's file systems once the guest has run: root in the guest
may have written data that crashes or misleads a file system driver. Only this module uses
`guestfs`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node.errors import KitError
from node.guest_files import (
    FIRST,
    MAX_REASON,
    FileSystem,
    GuestFiles,
    Handle,
    file_systems,
)
from node.run import ENVIRONMENT

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


class Appliance:
    """The appliance with read-only disks; it finds logical volumes and RAID arrays on them."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def file_systems(self) -> list[FileSystem]:
        """All file systems on the disks and in their volumes, except inside encrypted ones."""
        return file_systems(self._handle)

    @contextmanager
    def mounted(self, file_system: FileSystem) -> Iterator[GuestFiles]:
        """Mounts one file system read-only, and no other.

        Raises:
            KitError: it cannot be mounted or read.
        """
        try:
            self._handle.mount_ro(file_system.device, "/")
            try:
                yield GuestFiles(self._handle)
            finally:
                self._handle.umount_all()
        except RuntimeError as error:
            raise KitError(
                f"file system {file_system.device} ({file_system.type}) in the appliance: {error}",
                hint="if it is damaged, repair it in its guest (fsck)",
            ) from error


@contextmanager
def open_guest(
    disks: list[Path], *, use_kvm: bool, read_only: bool = False
) -> Iterator[GuestFiles]:
    """Starts the appliance with a guest's disks and mounts the guest's root file system in it.

    Args:
        disks: raw disks, in the guest's order.
        use_kvm: whether to use the node's KVM; without it, the start takes about 10 s longer.
        read_only: whether nothing is written to the disks, not even by the mount.

    Raises:
        KitError: libguestfs is missing or does not start, or the disks do not hold exactly one
            installed system.
    """
    raw = [(disk, "raw") for disk in disks]
    with launched(raw, read_only=read_only, use_kvm=use_kvm) as handle:
        roots = [device for device in handle.list_filesystems() if _holds_a_system(handle, device)]
        if len(roots) != 1:
            raise KitError(
                f"disks of the guest: {len(roots)} installed systems were found on them, not one",
                hint="make the change inside the guest",
            )
        # Only the root file system: the others are not needed, and one may fail to mount.
        mount = handle.mount_ro if read_only else handle.mount
        mount(roots[0], "/")
        yield GuestFiles(handle)
        handle.umount_all()


def _holds_a_system(handle: Handle, device: str) -> bool:
    """Whether a file system is the root of an installed system.

    libguestfs's own inspection is not used: it reads files of the guest whatever their size. With
    an fstab of 100 MB it took 78 s.
    """
    try:
        handle.mount_ro(device, "/")
    except RuntimeError:
        return False  # swap, or damaged
    try:
        names = ("/etc/os-release", "/usr/lib/os-release", "/etc/debian_version")
        return any(handle.is_file(name, followsymlinks=True) for name in names)
    finally:
        handle.umount_all()


@contextmanager
def open_disks_read_only(
    disks: Iterable[tuple[Path, str]], *, use_kvm: bool
) -> Iterator[Appliance]:
    """Starts the appliance with disks that it cannot write to.

    Args:
        disks: each disk with its format, as QEMU names it. The caller must have checked images
            that are not raw: QEMU opens other files that they name.
        use_kvm: see `open_guest`.

    Raises:
        KitError: libguestfs is missing or does not start.
    """
    with launched(disks, read_only=True, use_kvm=use_kvm) as handle:
        yield Appliance(handle)


class NotResizedError(Exception):
    """A file system cannot be made so small; says why. `smallest`: bytes, if that is known."""

    def __init__(self, why: str, smallest: int | None) -> None:
        super().__init__(why)
        self.smallest = smallest


def shrink_ext(device: Path, size: int, *, use_kvm: bool) -> None:
    """Checks a file system of ext2, 3 or 4 in the appliance, shrinks it, and checks it again.

    Args:
        device: all of it is the file system.
        size: bytes, a multiple of 1024.
        use_kvm: see `open_guest`.

    Raises:
        NotResizedError: it has errors that are not harmless, or too many files.
        KitError: libguestfs is missing or does not start.
    """
    with launched([(device, "raw")], read_only=False, use_kvm=use_kvm) as handle:
        (inside,) = handle.list_devices()
        try:
            handle.e2fsck(inside, correct=True)
            handle.resize2fs_size(inside, size)
            handle.e2fsck(inside, correct=True)
        except RuntimeError as error:
            why = " ".join(str(error).split())[:MAX_REASON]
            # Of a damaged file system, too, resize2fs tells a size, which would not help.
            smallest = _smallest(handle, inside) if "smaller than minimum" in why else None
            raise NotResizedError(why, smallest) from error


def _smallest(handle: Handle, device: str) -> int | None:
    try:
        smallest: int = handle.vfs_minimum_size(device)
    except RuntimeError:
        return None
    return smallest


def require_installed() -> None:
    """Raises KitError if libguestfs is missing."""
    _library()


def _library() -> Any:
    try:
        import guestfs
    except ImportError as error:
        raise KitError(
            "appliance for the guest's file systems: libguestfs is not installed on this node",
            hint="apt-get install python3-guestfs",
        ) from error
    return guestfs


@contextmanager
def launched(
    disks: Iterable[tuple[Path, str]], *, read_only: bool, use_kvm: bool, sandboxed: bool = False
) -> Iterator[Handle]:
    """Starts the appliance with disks; yields libguestfs's own handle.

    Args:
        disks: each disk with its format, as QEMU names it.
        read_only: whether changes are thrown away at the end.
        use_kvm: see `open_guest`.
        sandboxed: whether QEMU may no more start programs or change its user (seccomp(2)).

    Raises:
        KitError: libguestfs is missing or does not start; or a call of it failed in the block.
    """
    guestfs = _library()
    before = dict(os.environ)
    _set_environment(_environment(before, use_kvm=use_kvm, sandboxed=sandboxed))
    handle = guestfs.GuestFS(python_return_dict=True)
    try:
        if sandboxed:
            handle.config("-sandbox", _SANDBOX)
            handle.set_tmpdir("/tmp")  # these two can be written to
            handle.set_cachedir("/var/tmp")
        for number, (disk, kind) in enumerate(disks):
            label = {} if number else {"label": FIRST}
            # Never let QEMU guess the format: a guest could write another format's header to
            # its disk.
            handle.add_drive_opts(str(disk), format=kind, readonly=read_only, **label)
        handle.launch()
        yield handle
        handle.shutdown()
    except RuntimeError as error:
        raise KitError(
            f"appliance for the guest's file systems: {str(error).splitlines()[0]}",
            hint="run libguestfs-test-tool to find the cause; libguestfs needs a Debian kernel"
            " package on the node, and room in /var/tmp",
        ) from error
    finally:
        handle.close()
        _set_environment(before)


def _environment(
    given: Mapping[str, str], *, use_kvm: bool, sandboxed: bool = False
) -> dict[str, str]:
    """The environment of libguestfs's programs: that of all programs, and settings of its own.

    It makes its appliance with tar and cp, and Ganeti does not clean the environment of imports.
    TMPDIR is kept if it is there: that of libpam-tmpdir is below /tmp, and callers mount another
    /tmp. In a sandbox only /tmp and /var/tmp can be written to.
    """
    kept = {name: value for name, value in given.items() if name.startswith("LIBGUESTFS_")}
    place = given.get("TMPDIR", "")
    if not sandboxed and os.access(place, os.W_OK):
        kept["TMPDIR"] = place
    if not use_kvm:
        kept["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
    return {"LIBGUESTFS_BACKEND": "direct"} | kept | ENVIRONMENT


def _set_environment(wanted: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(wanted)
