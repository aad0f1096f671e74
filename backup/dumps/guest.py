"""What has to change in a guest whose root file system was made anew from a dump.

Nothing else changes. The guest's files may be those of an enemy: they are only read and written
here, below the tree, and none of its programs is run.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from guest import fstab
from installer.guest_tree import GuestTree
from node.errors import KitError
from node.log import log

FSTAB = "etc/fstab"
GRUB_INSTALL = "usr/sbin/grub-install"
# Files that may name the root file system, besides fstab.
NAMING_ROOT = (
    *("boot/grub/grub.cfg", "boot/grub/menu.lst", "boot/grub/custom.cfg"),
    *("boot/extlinux.conf", "boot/extlinux/extlinux.conf", "boot/syslinux/syslinux.cfg"),
    *("etc/default/grub", "etc/kernel/cmdline"),
)
# Names of NICs by the MAC addresses of the old instance (udev before Debian 9):
# ganeti-instance-debootstrap's import removes them, too.
UDEV_RULES = "etc/udev/rules.d"
MAC_RULES = "*_persistent-net.rules", "70-persistent-net.rules"
MAX_SIZE = 1 << 20  # bytes, of a file that is changed
_MENU_UUID = re.compile(r"root=UUID=([0-9A-Fa-f-]{36})\b")


def make_right(tree: GuestTree, uuid: str, fstype: str) -> None:
    """Lets a guest mount its new root file system.

    Args:
        tree: its files, which no process uses.
        uuid: of the new root file system.
        fstype: its type.
    """
    text = _read(tree, FSTAB)
    old = fstab.root_spec(text or "")
    if text is None:
        log.warning("the guest has no /%s that could be changed", FSTAB)
    else:
        new, changed = fstab.moved(text, f"UUID={uuid}", fstype)
        if new != text:
            _write(tree, FSTAB, new)
        for line in changed:
            log.warning("/%s: the dump has no such device: %s", FSTAB, " ".join(line.split()))
    for name in NAMING_ROOT:
        found = _read(tree, name)
        if found is not None and (new := with_root(found, old, uuid)) != found:
            _write(tree, name, new)
            log.info("/%s: it names the new root file system, UUID %s", name, uuid)
    for path in _mac_rules(tree):
        path.unlink()
        log.info("/%s/%s: removed, as it names the old MAC addresses", UDEV_RULES, path.name)


def has_grub(tree: GuestTree) -> bool:
    """Whether a guest has the program that installs GRUB."""
    path = _path(tree, GRUB_INSTALL)
    return path is not None and os.path.lexists(path)


def with_root(text: str, old: str | None, uuid: str) -> str:
    """A boot loader's menu or the like, with the new root file system.

    Args:
        text: the menu.
        old: the root file system in fstab; None if it has none.
        uuid: of the new one.
    """
    was = re.fullmatch(r"(?:UUID=|/dev/disk/by-uuid/)([\w-]+)", old or "")
    for found in {*([was[1]] if was else ()), *_MENU_UUID.findall(text)}:
        text = text.replace(found, uuid)
    if old and old.startswith("LABEL="):
        text = re.sub(rf"root={re.escape(old)}(?=[\s\"']|$)", f"root=UUID={uuid}", text)
    return text


def _mac_rules(tree: GuestTree) -> Iterator[Path]:
    path = _path(tree, f"{UDEV_RULES}/rule")
    if path is not None and path.parent.is_dir():
        place = path.parent
        yield from sorted({path for pattern in MAC_RULES for path in place.glob(pattern)})


def _path(tree: GuestTree, relative: str) -> Path | None:
    """The node's path of a file, or None where symlinks lead out of the guest or in circles."""
    try:
        return tree.path(relative)
    except (KitError, OSError, RuntimeError) as error:
        log.warning("/%s in the guest: left as it is: %s", relative, error)
        return None


def _read(tree: GuestTree, relative: str) -> str | None:
    """The text of a regular file of a usual size, else None."""
    path = _path(tree, relative)
    if path is None or not os.path.lexists(path):
        return None
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_SIZE:
        return None
    return path.read_bytes().decode(errors="surrogateescape")


def _write(tree: GuestTree, relative: str, text: str) -> None:
    """Replaces the content of a regular file, and nothing else of it."""
    flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(tree.path(relative), flags), "wb") as file:
        file.write(text.encode(errors="surrogateescape"))
