"""A guest's file systems, mounted in the appliance at their places; served to the node by FUSE."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from guest import mount_points
from guest.mount_points import Place
from kit.rescue.target import Held
from node import mount_fds, syscalls
from node.appliance import launched
from node.errors import KitError
from node.guest_files import GuestFiles, Handle
from node.isolation import read_only_node
from node.isolation.apart import Channel

# What a confined process does, at its end of the connection.
Work = Callable[[Channel], None]

SYSTEM = ("/etc/os-release", "/usr/lib/os-release", "/etc/debian_version")
# Types that cannot be mounted.
NO_FILE_SYSTEMS = ("swap", "unknown", "crypto_LUKS", "LVM2_member", "linux_raid_member", "")
# An fstab may have any number of lines; a message to the other process may not.
MOST_PLACES, MOST_TEXT = 50, 300
_BTRFS = "btrfsvol:"  # libguestfs's mark of a subvolume: btrfsvol:/dev/sda1/@
_SERVED = Path("/run/guest")
_WRITE_ERRORS = re.compile(r"(?:I/O error|lost async page write).*", re.I)


@dataclass(frozen=True)
class Mounted:
    """The file systems that are mounted, and what was left out, in words."""

    places: tuple[Place, ...]
    left_out: tuple[str, ...]


class Tree:
    """The tree of a guest in the appliance, with its root at /."""

    def __init__(self, handle: Handle, *, write: bool) -> None:
        self.handle = handle
        self._write = write

    def mount(self, partition: str | None) -> Mounted:
        """Mounts the guest's file systems, or one of them as the root.

        Args:
            partition: a device as `volumes` names it; None for a whole installed system.

        Raises:
            KitError: there is no installed system, or more than one; or the root does not mount.
        """
        with told("file systems of the guest"):
            found: dict[str, str] = self.handle.list_filesystems()
        if partition is not None:
            if partition not in found:
                raise KitError(
                    f"file system {partition}: not on these disks", hint=self._choices(found)
                )
            self._mount(Place(partition, "/"))
            return Mounted((Place(partition, "/"),), ())
        root = Place(self._root(found), "/")
        self._mount(root)
        with told("/etc/fstab of the guest", "--partition DEVICE opens one file system without it"):
            fstab = GuestFiles(self.handle).read("/etc/fstab") or ""
        rest, left_out = mount_points.places(fstab, self._volumes(found))
        mounted, missing = [root], list(left_out)
        for place in rest:
            if len(mounted) > MOST_PLACES or len(place.point) > MOST_TEXT:
                missing.append(f"{place.point}: too many or too long mount points")
                continue
            try:
                self._mount(place)
            except KitError as error:
                missing.append(f"{place.point}: {error.message}")
            else:
                mounted.append(place)
        return Mounted(tuple(mounted), _bounded(missing))

    def serve(self) -> int:
        """Offers the tree by FUSE; returns the descriptor of a mount that is at no place yet.

        All capabilities are dropped then.

        Raises:
            KitError: FUSE refuses.
        """
        try:
            _SERVED.mkdir()
            self.handle.mount_local(str(_SERVED), readonly=not self._write)
            descriptor = mount_fds.detached_copy(_SERVED)
            syscalls.umount(_SERVED)
        except (OSError, RuntimeError) as error:
            raise KitError(
                f"FUSE mount of the guest: {error}",
                hint="it needs the kernel's FUSE: modprobe fuse",
            ) from error
        syscalls.drop_capabilities()
        return descriptor

    def answer(self) -> None:
        """Answers the kernel until the FUSE file system has ended."""
        with told("FUSE mount of the guest"):
            self.handle.mount_local_run()

    def finish(self) -> None:
        """Unmounts all in the appliance; all that was written is in the disks' files then.

        Raises:
            KitError: something could not be written.
        """
        if not self._write:
            return
        with told("unmount of the guest's file systems"):
            self.handle.sync()
            self.handle.umount_all()
            self.handle.sync()
            messages = self.handle.dmesg()
        if found := _WRITE_ERRORS.search(messages):
            raise KitError(
                f"disks of the guest: {found[0].strip()}: what was written may be lost",
                hint="see dmesg for errors of their devices, and df for their file systems;"
                " then fsck",
            )

    def _mount(self, place: Place) -> None:
        options = ("rw" if self._write else "ro", *place.options)
        with told(f"mount of {place.device}", "if it is damaged: fsck in the guest's rescue mode"):
            self.handle.mount_options(",".join(options), place.device, place.point)

    def _volumes(self, found: dict[str, str]) -> list[mount_points.Volume]:
        devices = [device for device in found if _is_device(device)]
        with told("names of the guest's file systems"):
            return [mount_points.volume(each, self.handle.blkid(each)) for each in devices]

    def _root(self, found: dict[str, str]) -> str:
        """The one root of an installed system; of btrfs, the default subvolume goes first."""
        candidates = [device for device, kind in found.items() if kind not in NO_FILE_SYSTEMS]
        roots: list[str] = []
        for device in sorted(candidates, key=lambda each: not _is_device(each)):
            whole = next((root for root in roots if device.startswith(f"{_BTRFS}{root}/")), None)
            if whole is None and self._holds_a_system(device):
                roots.append(device)
        if len(roots) != 1:
            raise KitError(
                "disks of the guest: "
                + (f"installed systems on {', '.join(roots)}" if roots else "no installed system"),
                hint=self._choices(found),
            )
        return roots[0]

    def _holds_a_system(self, device: str) -> bool:
        handle = self.handle
        try:
            handle.mount_ro(device, "/")
        except RuntimeError:
            return False  # damaged, or of a kind that the appliance's kernel does not know
        try:
            return any(handle.is_file(name, followsymlinks=True) for name in SYSTEM)
        except RuntimeError:
            return False  # damaged further down
        finally:
            handle.umount_all()

    def _choices(self, found: dict[str, str]) -> str:
        named = [f"{device} ({kind})" for device, kind in found.items()]
        return f"--partition DEVICE opens one; there are: {', '.join(named) or 'none'}"


def _bounded(lines: Sequence[str]) -> tuple[str, ...]:
    more = len(lines) - MOST_PLACES
    rest = (f"{more} more",) if more > 0 else ()
    return (*(line[:MOST_TEXT] for line in lines[:MOST_PLACES]), *rest)


def _is_device(device: str) -> bool:
    return device.startswith("/dev/")


@contextmanager
def told(what: str, hint: str = "--debug shows where it failed") -> Iterator[None]:
    """Turns an error of libguestfs into ours.

    Raises:
        KitError: a call of libguestfs failed in the block.
    """
    try:
        yield
    except (RuntimeError, UnicodeError) as error:  # its Python module takes and gives UTF-8 only
        raise KitError(f"{what}: {' '.join(str(error).split())}", hint=hint) from error


@contextmanager
def opened(disks: Sequence[Held], *, write: bool) -> Iterator[Tree]:
    """Starts the appliance in a process of `node.isolation.apart`, and confines both.

    Args:
        disks: raw disks; the first one is /dev/sda.
        write: whether they may be changed.

    Raises:
        KitError: libguestfs or the confinement does not start.
    """
    try:
        paths = read_only_node.enter(
            [(disk.path, os.fstat(disk.fd)) for disk in disks], writable=write
        )
    except OSError as error:
        raise KitError(
            f"confinement of libguestfs: {error.filename}: {error.strerror}",
            hint="it needs Linux 5.12, and root outside of containers that forbid mounts",
        ) from error
    raw = [(path, "raw") for path in paths]
    with launched(raw, read_only=not write, use_kvm=True, sandboxed=True) as handle:
        read_only_node.seal()
        tree = Tree(handle, write=write)
        yield tree
        tree.finish()
