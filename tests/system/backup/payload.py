"""Files of all kinds that backups lose something of, and all facts of files."""

import fcntl
import hashlib
import os
import random
import socket
import stat
import struct
from pathlib import Path
from typing import Any

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602  # linux/fs.h
_NODUMP, _IMMUTABLE, _APPEND = 0x40, 0x10, 0x20
KEPT_FLAGS = 0x10 | 0x20 | 0x40 | 0x80  # immutable, append, nodump, noatime
SECOND = 10**9
FUTURE = 5 * 10**9 * SECOND + 987654321  # behind the year 2038


def fill(top: Path) -> None:
    """Makes files below a directory: about 20 MiB."""
    chance = random.Random(7)
    (top / "random").write_bytes(chance.randbytes(6 << 20))
    words = [chance.randbytes(4).hex().encode() for _ in range(500)]
    (top / "text").write_bytes(b" ".join(chance.choices(words, k=1_200_000)))
    with (top / "sparse").open("wb") as file:
        for offset in (0, 40 << 20, (1 << 30) - 4096):
            file.seek(offset)
            file.write(chance.randbytes(4096))
        file.truncate(3 << 30)
    (top / "many").mkdir()
    for number in range(400):
        (top / "many" / f"{number}").write_bytes(chance.randbytes(chance.randint(0, 6000)))
    for number in range(0, 400, 2):  # holes among the used blocks
        (top / "many" / f"{number}").unlink()
    (top / "hard").hardlink_to(top / "random")
    (top / "soft").symlink_to("x" * 200)
    for name in ("new\nline", "ümläut", "-dash", "latin\udce9", "n" * 255):
        (top / name).write_text("x")
    (top / "xattrs").write_text("x")
    os.setxattr(top / "xattrs", "user.binary", bytes(range(256)))
    os.setxattr(top / "xattrs", "trusted.two", b"2\0\xff")
    (top / "capable").write_text("x")
    # struct vfs_cap_data of linux/capability.h: revision 2, effective, cap_net_raw.
    os.setxattr(
        top / "capable", "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    )
    os.mkfifo(top / "fifo")
    os.mknod(top / "device", 0o60660 | stat.S_IFBLK, os.makedev(259, 70000))
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(top, os.O_RDONLY)
        try:
            made.bind(f"/proc/self/fd/{here}/socket")
        finally:
            os.close(here)
    (top / "setuid").touch()
    (top / "setuid").chmod(0o6755)
    os.chown(top / "setuid", 3_000_000_000, 2_999_999_999)
    os.utime(top / "text", ns=(1, 1_600_000_000 * SECOND + 123456789))
    _add_flag(top / "xattrs", _NODUMP)
    os.setxattr(top / "xattrs", "user.empty", b"")
    os.setxattr(top / "many", "user.directory", b"on a directory")
    os.mknod(top / "terminal", 0o20660 | stat.S_IFCHR, os.makedev(4, 300))
    (top / "sticky").mkdir()
    (top / "sticky").chmod(0o1777)
    deep = top.joinpath(*["d" * 100] * 15)
    deep.mkdir(parents=True)
    (deep / "leaf").write_text("deep")
    with (top / "preallocated").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
    for name, moment in (("old", -3 * 365 * 86400 * SECOND + 123456789), ("future", FUTURE)):
        (top / name).touch()
        os.utime(top / name, ns=(1, moment))
    (top / "acl").touch()
    os.setxattr(top / "acl", "system.posix_acl_access", _acl(0o7))
    (top / "acls").mkdir()
    os.setxattr(top / "acls", "system.posix_acl_default", _acl(0o5))
    for name, flag in (("immutable", _IMMUTABLE), ("append", _APPEND)):
        (top / name).touch()
        _add_flag(top / name, flag)


def _acl(rights: int) -> bytes:
    """An ACL with rights for user 33, as linux/posix_acl_xattr.h has it: version, then entries."""
    entries = ((0x01, 6, 2**32 - 1), (0x02, rights, 33), (0x04, 4, 2**32 - 1), (0x10, 7, 2**32 - 1))
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry) for entry in (*entries, (0x20, 0, 2**32 - 1))
    )


def _add_flag(path: Path, flag: int) -> None:
    """Adds to the flags: without that for extents, ext4 would make indirect blocks of them."""
    fd = os.open(path, os.O_RDONLY)
    try:
        (before,) = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", before | flag))
    finally:
        os.close(fd)


def _flags(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))
    finally:
        os.close(fd)
    return int(flags) & KEPT_FLAGS


def manifest(top: Path) -> dict[str, dict[str, Any]]:
    """All facts of all files below a directory, by their names."""
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        own = path.lstat()
        facts: dict[str, Any] = {
            "mode": own.st_mode,
            "owner": (own.st_uid, own.st_gid),
            "mtime": own.st_mtime_ns,
            "links": own.st_nlink,
            "inode": own.st_ino,
        }
        if stat.S_ISREG(own.st_mode):
            facts |= {"size": own.st_size, "blocks": own.st_blocks, "flags": _flags(path)}
            facts["digest"] = _digest(path)
        elif stat.S_ISLNK(own.st_mode):
            facts["target"] = os.readlink(path)  # noqa: PTH115 - as it is
        elif stat.S_ISBLK(own.st_mode) or stat.S_ISCHR(own.st_mode):
            facts["device"] = own.st_rdev
        for name in os.listxattr(path, follow_symlinks=False):
            facts[name] = os.getxattr(path, name, follow_symlinks=False)
        found[str(path.relative_to(top))] = facts
    return found


def _digest(path: Path) -> str:
    """Of its data; a hole of gigabytes is not read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size, end = os.fstat(file.fileno()).st_size, 0
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            digest.update(b"%d-%d" % (start, end))
            digest.update(os.pread(file.fileno(), end - start, start))
    return digest.hexdigest()
