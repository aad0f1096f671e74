"""A view of the node in which a process can read programs, and write to nothing but its disks.

For libguestfs and its QEMU: a hostile file system may take over the appliance, and then QEMU. They
see the node's files read-only, without the directories of users, of Ganeti and of sockets, and
without logs; no device but those that QEMU needs and the disks; no network; no other process.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from node import mount_fds, syscalls
from node.errors import KitError
from node.isolation.mount import remounted_read_only
from node.syscalls import (
    MS_BIND,
    MS_MOVE,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REMOUNT,
    mount,
    umount,
)

DEVICES = ("null", "zero", "full", "random", "urandom", "fuse", "kvm")
# Ganeti keeps disks in files below /srv/ganeti, and passwords of new guests in its OS logs.
HIDDEN = (
    *("/run", "/root", "/home", "/srv", "/var/log"),
    *("/var/lib/ganeti", "/var/lib/ganeti-instance-kit"),
)
# Images need not be root's, and tar restores the owners of files when the appliance is made.
CAPABILITIES = (
    syscalls.CAP_CHOWN,
    syscalls.CAP_DAC_OVERRIDE,
    syscalls.CAP_FOWNER,
    syscalls.CAP_FSETID,
)
# Every node has it and no image is in it. The new mounts are made here and then moved.
STAGE = Path("/sys")
# libguestfs keeps its appliance here: in a directory for each user.
APPLIANCE = Path(f"/var/tmp/.guestfs-{os.getuid()}")


def enter(disks: Sequence[tuple[Path, os.stat_result]], *, writable: bool) -> list[Path]:
    """Changes the mounts of our own, private namespace, and leaves the network.

    /tmp and /var/tmp are empty and in memory, but for libguestfs's appliance, which can be made
    until `seal` is called. Programs that are executed from now on have CAPABILITIES only.

    Args:
        disks: each with its status, of a descriptor that is kept open.
        writable: whether they may be written to.

    Returns:
        The paths of the disks from now on.

    Raises:
        KitError: a disk was replaced meanwhile.
        OSError: the kernel refuses.
    """
    syscalls.unshare_communication()
    plain = MS_NOSUID | MS_NODEV
    mount("tmpfs", STAGE, "tmpfs", plain, "mode=700")
    for name, flags in (("dev", MS_NOSUID | MS_NOEXEC), ("tmp", plain), ("var", plain)):
        (STAGE / name).mkdir()
        mount("tmpfs", STAGE / name, "tmpfs", flags, "mode=755")
    APPLIANCE.mkdir(mode=0o755, exist_ok=True)
    kept = STAGE / "var" / APPLIANCE.name
    kept.mkdir()
    mount(APPLIANCE, kept, None, MS_BIND)
    _make_devices(STAGE / "dev")
    for number, disk in enumerate(disks):
        _make_disk(STAGE / f"dev/disk{number}", *disk)
    mount_fds.make_read_only(Path("/"))
    for path in (STAGE / "tmp", STAGE / "var", kept):
        mount(None, path, None, MS_BIND | MS_REMOUNT | plain)
    mount(None, STAGE / "dev", None, MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NOEXEC)
    for number, (_, status) in enumerate(disks):
        if writable and stat.S_ISREG(status.st_mode):
            mount(None, STAGE / f"dev/disk{number}", None, MS_BIND | MS_REMOUNT | plain)
    for hidden in filter(os.path.isdir, HIDDEN):
        mount("tmpfs", hidden, "tmpfs", plain, "mode=700,size=1m")
    for name, place in (("dev", "/dev"), ("tmp", "/tmp"), ("var", "/var/tmp")):
        mount(STAGE / name, place, None, MS_MOVE)
    umount(STAGE)
    syscalls.limit_programs(*CAPABILITIES)
    return [Path(f"/dev/disk{number}") for number in range(len(disks))]


def seal() -> None:
    """Makes libguestfs's appliance read-only.

    Raises:
        OSError: the kernel refuses.
    """
    remounted_read_only(Path("/var/tmp") / APPLIANCE.name)


def _make_devices(place: Path) -> None:
    for name in DEVICES:
        node = Path("/dev", name)
        if node.is_char_device():
            _make_node(place / name, stat.S_IFCHR | 0o666, node.stat().st_rdev)


def _make_disk(place: Path, path: Path, status: os.stat_result) -> None:
    if stat.S_ISBLK(status.st_mode):
        _make_node(place, stat.S_IFBLK | 0o600, status.st_rdev)
        return
    place.touch()
    mount(path, place, None, MS_BIND)
    if not os.path.samestat(place.stat(), status):
        raise KitError(f"disk {path}: it was replaced by another file", hint="run it again")


def _make_node(place: Path, mode: int, number: int) -> None:
    os.mknod(place, mode, number)
    place.chmod(stat.S_IMODE(mode))
