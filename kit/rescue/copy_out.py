"""Copies a file or directory out of a guest, by libguestfs: links in the guest stay in the guest.

A hostile guest may send a hostile archive. So tar writes in a namespace in which all but the new
directory is read-only.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kit.rescue import tree
from kit.rescue.target import Held, Target, held
from kit.rescue.tree import Tree, told
from node import mount_fds, syscalls
from node.errors import CommandError, KitError
from node.isolation.apart import Channel, Message, apart
from node.lockfile import part_prefix, parts_of
from node.log import log
from node.run import run

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Part:
    """A directory beside the destination, in which the copy is made.

    Attributes:
        path: of it; after `_protect`, only what is below it can be written.
        name: its name in the parent directory.
        parent: a descriptor of the parent directory, through which it can be changed all the same.
        fd: a descriptor of it, which is locked.
    """

    path: Path
    name: str
    parent: int
    fd: int


def final_path(source: str, given: str) -> Path:
    """Where a copy goes: into a directory that exists, else to that name.

    Raises:
        KitError: it would replace a directory, or there is none to put it into.
    """
    path = Path(given)
    if path.is_dir():
        name = os.path.basename(source.rstrip("/"))  # noqa: PTH119 - a path of the guest
        if name in ("", ".", ".."):
            raise KitError(f"{given}: it exists", hint="name a directory that does not exist")
        path /= name
    elif given.endswith("/") or not path.absolute().parent.is_dir():
        raise KitError(f"{given}: no such directory", hint=f"mkdir -p {path.parent}")
    if path.is_dir() and not path.is_symlink():
        raise KitError(
            f"{path}: it exists, and directories are not merged", hint="name another destination"
        )
    return path.absolute()


def copy(target: Target, source: str, final: Path, partition: str | None) -> None:
    """Copies a file, symlink or directory with owners, modes, times and extended attributes.

    The destination appears when all of it is on the disk.

    Raises:
        KitError: there is no such file, or it is of another kind; or it cannot be written.
    """
    with (
        held(target, write=False) as disks,
        _part_beside(final) as part,
        apart(_sender(disks, source, partition), f"{source} in {target.name}") as channel,
    ):
        about, _ = channel.receive()
        _protect(part)
        try:
            _receive(about, part.path / final.name, channel)
            channel.receive()
            syscalls.syncfs(part.fd)
            os.rename(final.name, final.name, src_dir_fd=part.fd, dst_dir_fd=part.parent)
            os.fsync(part.parent)
        except OSError as error:
            raise KitError(
                f"{final}: {error.strerror}", hint="see df and dmesg; then run it again"
            ) from error


def _sender(disks: list[Held], source: str, partition: str | None) -> tree.Work:
    """The work of the confined process: says what comes, and writes it to the pipe that it gets."""

    def work(channel: Channel) -> None:
        with tree.opened(disks, write=False) as opened:
            opened.mount(partition)
            with told(f"{source} in the guest"):
                about = _about(opened, source)
                channel.send(about)
                if about["kind"] != "link":
                    _, pipe = channel.receive()
                    _send(opened, about["kind"], source, f"/proc/self/fd/{pipe}")
        channel.send({})

    return work


def _about(opened: Tree, source: str) -> Message:
    handle = opened.handle
    if not handle.exists(source) and not handle.is_symlink(source):
        raise KitError(f"{source}: the guest has no such file", hint="instance-kit shell shows all")
    status = handle.lstatns(source)
    kind = _KINDS.get(stat.S_IFMT(status["st_mode"]))
    if kind is None:
        raise KitError(
            f"{source}: neither a file nor a directory nor a symlink",
            hint="a directory is copied with what is in it, of any kind",
        )
    times = [
        status[f"st_{name}_sec"] * 10**9 + status[f"st_{name}_nsec"] for name in ("atime", "mtime")
    ]
    attributes = {each["attrname"]: each["attrval"] for each in handle.lgetxattrs(source)}
    return {
        "kind": kind,
        "mode": stat.S_IMODE(status["st_mode"]),
        "owner": [status["st_uid"], status["st_gid"]],
        "times": times,
        "size": status["st_size"],
        "link": handle.readlink(source) if kind == "link" else None,
        "attributes": {
            name: b64encode(_bytes(value)).decode() for name, value in attributes.items()
        },
    }


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else os.fsencode(value)


def _send(opened: Tree, kind: str, source: str, pipe: str) -> None:
    if kind == "file":
        opened.handle.download(source, pipe)
    else:
        # The real path: tar_out does not stay in the guest's tree when it follows a symlink.
        real = opened.handle.realpath(source)
        opened.handle.tar_out(real, pipe, numericowner=True, xattrs=True, acls=True)


def _receive(about: Message, place: Path, channel: Channel) -> None:
    if about["kind"] == "link":
        place.symlink_to(about["link"])
        _restore(about, place)
        return
    reading, writing = os.pipe()
    try:
        channel.send({}, writing)
        os.close(writing)
        writing = -1
        if about["kind"] == "file":
            _receive_file(about, place, reading, channel)
        else:
            place.mkdir(mode=0o700)
            _unpack(place, reading)
            # tar stops at the end of the archive, and the padding behind it may still come.
            while os.read(reading, _BUFFER):
                pass
    except CommandError:
        os.close(reading)  # the other process must not wait for a reader
        reading = -1
        channel.receive()  # perhaps it knows why
        raise
    finally:
        for descriptor in (reading, writing):
            if descriptor >= 0:
                os.close(descriptor)


def _receive_file(about: Message, place: Path, pipe: int, channel: Channel) -> None:
    with place.open("xb", buffering=0) as file:
        while piece := os.read(pipe, _BUFFER):
            # A sparse file, such as /var/log/lastlog, stays sparse.
            if piece.count(0) == len(piece):
                file.seek(len(piece), os.SEEK_CUR)
            else:
                file.write(piece)
        size = file.tell()
        file.truncate(size)  # it may end with a hole
    if size != about["size"]:
        channel.receive()  # the other process knows why
        raise KitError(
            f"{place.name}: {size} bytes came instead of {about['size']}", hint="run it again"
        )
    _restore(about, place)


def _unpack(place: Path, pipe: int) -> None:
    keep = (
        "--numeric-owner",
        "--same-owner",
        "--preserve-permissions",
        "--delay-directory-restore",
    )
    attributes = ("--acls", "--xattrs", "--xattrs-include=*")
    archive = f"--file=/proc/{os.getpid()}/fd/{pipe}"
    run(
        ["tar", "--extract", archive, f"--directory={place}", *keep, *attributes],
        what=f"unpacking of {place.name}",
        on_line=lambda line: log.warning("%s", line),
    )


def _restore(about: Message, place: Path) -> None:
    """Gives a file or symlink its owner, attributes, mode and times, in an order that keeps all."""
    os.lchown(place, *about["owner"])
    if about["kind"] != "link":
        place.chmod(about["mode"])
    for name, value in about["attributes"].items():
        try:
            os.setxattr(place, name, b64decode(value), follow_symlinks=False)
        except OSError as error:
            log.warning("%s: attribute %s: %s", place.name, name, error.strerror)
    os.utime(place, ns=tuple(about["times"]), follow_symlinks=False)


@contextmanager
def _part_beside(final: Path) -> Iterator[Part]:
    """Makes the directory for the copy; it is removed at the end, as are those of killed copies."""
    for left in parts_of(final):
        _remove_if_free(left)
    prefix = part_prefix(final.name)
    path = Path(tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=final.parent))
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    parent = os.open(final.parent, flags)
    try:
        descriptor = os.open(path, flags)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Part(path, path.name, parent, descriptor)
        finally:
            with suppress(OSError):  # `_protect` was not reached
                syscalls.umount(path)
            shutil.rmtree(path.name, dir_fd=parent)
            os.close(descriptor)
    finally:
        os.close(parent)


def _remove_if_free(left: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
        finally:
            os.close(descriptor)


def _protect(part: Part) -> None:
    """Makes all but the new directory read-only, for us and the programs that we start.

    Raises:
        KitError: the kernel refuses.
    """
    plain = syscalls.MS_NOSUID | syscalls.MS_NODEV
    try:
        syscalls.unshare_mounts()
        syscalls.mount(part.path, part.path, None, syscalls.MS_BIND)
        mount_fds.make_read_only(Path("/"))
        syscalls.mount(None, part.path, None, syscalls.MS_BIND | syscalls.MS_REMOUNT | plain)
    except OSError as error:
        raise KitError(
            f"protection of the node's files: {error.strerror}",
            hint="it needs Linux 5.12, and root outside of containers that forbid mounts",
        ) from error
