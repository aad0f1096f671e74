"""The libguestfs appliance: a small virtual machine in which foreign file systems are opened.

A guest's file systems are never mounted by the node's own kernel once the guest has run: whoever
is root in it can write what a file system driver was not made for. This is the only user of
`guestfs`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.errors import KitError

MAX_SIZE = 1024 * 1024  # of a file that a guest lets us read


class GuestFiles:
    """The file tree of a guest that is shut off, with its file systems mounted in the appliance."""

    def __init__(self, handle: "guestfs.GuestFS") -> None:  # type: ignore[name-defined] # noqa: F821
        self._handle = handle

    def read(self, path: str) -> str | None:
        """The text of a regular file, or None where there is none of a sane size."""
        handle = self._handle
        if not handle.is_file(path, followsymlinks=True) or handle.filesize(path) > MAX_SIZE:
            return None
        content: bytes = self._handle.read_file(path)
        return content.decode("utf-8", "surrogateescape")

    def write(self, path: str, text: str) -> None:
        """Replaces a file's content; its owner and permission bits stay."""
        self._handle.write(path, text.encode("utf-8", "surrogateescape"))


@contextmanager
def opened(disks: list[Path], *, use_kvm: bool) -> Iterator[GuestFiles]:
    """Starts the appliance on a guest's disks, and mounts the guest's root file system there.

    Args:
        disks: raw disks, in the guest's order.
        use_kvm: whether the node's KVM may be used; emulation takes some ten seconds more.

    Raises:
        KitError: libguestfs is missing or does not start, or no one system is found.
    """
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
        for disk in disks:
            # The format is never guessed: a guest could write a header of another into its disk.
            handle.add_drive_opts(str(disk), format="raw")
        handle.launch()
        roots = handle.inspect_os()
        if len(roots) != 1:
            raise KitError(
                f"disks of the guest: {len(roots)} installed systems were found on them, not one"
            )
        # The root alone: another file system that cannot be mounted is no reason to fail.
        handle.mount(roots[0], "/")
        yield GuestFiles(handle)
        handle.umount_all()
        handle.shutdown()
    except RuntimeError as error:
        raise KitError(
            f"appliance for the guest's file systems: {error}",
            hint="libguestfs-test-tool tells more; it needs a Debian kernel package on the node",
        ) from error
    finally:
        handle.close()
