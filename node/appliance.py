"""The libguestfs appliance: a small virtual machine in which foreign file systems are opened.

A guest's file systems are never mounted by the node's own kernel once the guest has run: whoever
is root in it can write what a file system driver was not made for. This is the only user of
`guestfs`.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from node.errors import KitError

MAX_SIZE = 1024 * 1024  # of a file that a guest lets us read
MAX_FILES = 100  # that a pattern may stand for

Handle = Any  # a guestfs.GuestFS, which has no types


class GuestFiles:
    """The file tree of a guest that is shut off, with its file systems mounted in the appliance."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def read(self, path: str) -> str | None:
        """The text of a regular file, or None where there is none of a sane size."""
        handle = self._handle
        if not handle.is_file(path, followsymlinks=True) or handle.filesize(path) > MAX_SIZE:
            return None
        content: bytes = self._handle.read_file(path)
        return content.decode("utf-8", "surrogateescape")

    def matching(self, pattern: str) -> list[str]:
        """The paths that a shell's pattern stands for, the first hundred of them."""
        found: list[str] = self._handle.glob_expand(pattern)
        return found[:MAX_FILES]

    def write(self, path: str, text: str) -> None:
        """Replaces a file's content; its owner and permission bits stay."""
        self._handle.write(path, text.encode("utf-8", "surrogateescape"))


class FileSystem(NamedTuple):
    """A file system, swap or the like in the appliance; empty where it has no UUID or label."""

    device: str  # the appliance's name for it
    type: str
    uuid: str
    label: str


class Appliance:
    """The appliance with disks that are only looked at: logical volumes and RAIDs are found."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def file_systems(self) -> list[FileSystem]:
        """All that is found on the disks, or in volumes of them that are not encrypted."""
        handle = self._handle
        types: dict[str, str] = handle.list_filesystems()
        # It leaves out what is encrypted, and members of volume groups and RAIDs.
        for listing in (handle.list_devices, handle.list_partitions, handle.lvs):
            for device in listing():
                types.setdefault(device, handle.vfs_type(device))
        return [
            FileSystem(device, kind, handle.vfs_uuid(device), handle.vfs_label(device))
            for device, kind in types.items()
            if kind
        ]

    @contextmanager
    def mounted(self, file_system: FileSystem) -> Iterator[GuestFiles]:
        """Mounts one file system, alone and read-only.

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
def open_guest(disks: list[Path], *, use_kvm: bool) -> Iterator[GuestFiles]:
    """Starts the appliance on a guest's disks, and mounts the guest's root file system there.

    Args:
        disks: raw disks, in the guest's order.
        use_kvm: whether the node's KVM may be used; emulation takes some ten seconds more.

    Raises:
        KitError: libguestfs is missing or does not start, or no one system is found.
    """
    raw = [(disk, "raw") for disk in disks]
    with _launched(raw, read_only=False, use_kvm=use_kvm) as handle:
        roots = [device for device in handle.list_filesystems() if _holds_a_system(handle, device)]
        if len(roots) != 1:
            raise KitError(
                f"disks of the guest: {len(roots)} installed systems were found on them, not one",
                hint="change it from inside the guest",
            )
        # The root alone: another file system that cannot be mounted is no reason to fail.
        handle.mount(roots[0], "/")
        yield GuestFiles(handle)
        handle.umount_all()


def _holds_a_system(handle: Handle, device: str) -> bool:
    """Whether a file system is the root of an installed system.

    libguestfs's own inspection reads whatever the guest has, for minutes where that is large: an
    fstab of 100 MB took 78 s.
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
    """Starts the appliance on disks that it cannot write to.

    Args:
        disks: each with its format, as QEMU names it. What is not raw was checked before: QEMU
            follows whatever other files it names.
        use_kvm: as `open_guest` has it.

    Raises:
        KitError: libguestfs is missing or does not start.
    """
    with _launched(disks, read_only=True, use_kvm=use_kvm) as handle:
        yield Appliance(handle)


@contextmanager
def _launched(
    disks: Iterable[tuple[Path, str]], *, read_only: bool, use_kvm: bool
) -> Iterator[Handle]:
    try:
        import guestfs
    except ImportError as error:
        raise KitError(
            "appliance for the guest's file systems: libguestfs is not on this node",
            hint="apt-get install python3-guestfs",
        ) from error
    os.environ.setdefault("LIBGUESTFS_BACKEND", "direct")
    if not use_kvm:
        os.environ["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
    handle = guestfs.GuestFS(python_return_dict=True)
    try:
        for disk, kind in disks:
            # The format is never guessed: a guest could write a header of another into its disk.
            handle.add_drive_opts(str(disk), format=kind, readonly=read_only)
        handle.launch()
        yield handle
        handle.shutdown()
    except RuntimeError as error:
        raise KitError(
            f"appliance for the guest's file systems: {error}",
            hint="libguestfs-test-tool tells more; it needs a Debian kernel package on the node",
        ) from error
    finally:
        handle.close()
