"""Reads what the checks need, from the disks and in the appliance."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from converter.contents.describe import DiskReport, describe
from converter.contents.guest_config import REFERRING
from guest import fstab
from guest.instance import Instance
from importer.check import console, cpio, drivers
from importer.check.facts import CRYPTTAB, DEBCONF, FSTAB, INITTAB, MENUS, Facts, Kernel
from importer.editing import MAX_TEXT
from node.errors import KitError
from node.guest_files import GuestFiles

START = 64 * 1024  # bytes of a disk, with all that its firmware reads first
ESP = "/boot/efi"
_PLACES = ("/boot", ESP, "/usr")  # that are mounted if fstab names file systems for them
_PATTERNS = (*REFERRING, CRYPTTAB, INITTAB, DEBCONF, console.DEFAULTS)
_KERNEL = re.compile(r"^[^\S\n]*linux(?:16|efi)?[^\S\n]+\S*/(?:vmlinuz|kernel)-(\S+)", re.MULTILINE)
_UNPACK = {
    None: "cat",
    "gzip": "gzip -dc",
    "xz": "xz -dc",
    "lzma": "xz --format=lzma -dc",
    "zstd": "zstd -dc",
    "bzip2": "bzip2 -dc",
    "lzop": "lzop -dc",
}


def disks(paths: Sequence[Path]) -> tuple[tuple[DiskReport, ...], tuple[bytes, ...]]:
    """What is on disks, and how each begins.

    Raises:
        KitError: one cannot be read.
    """
    reports, starts = [], []
    for path in paths:
        with _opened(path) as (fd, size):

            def read(offset: int, length: int, fd: int = fd) -> bytes:
                return os.pread(fd, length, offset)

            try:
                reports.append(describe(read, size))
                starts.append(read(0, min(START, size)))
            except (OSError, ValueError) as error:
                raise KitError(
                    f"disk {path}: {error}", hint="see dmesg for errors of its device"
                ) from error
    return tuple(reports), tuple(starts)


def facts(
    files: GuestFiles,
    instance: Instance,
    reports: tuple[DiskReport, ...],
    starts: tuple[bytes, ...],
) -> Facts:
    """All facts of a guest whose root is mounted.

    Raises:
        KitError: a file is too large to be checked, or the appliance fails.
    """
    unmounted = tuple(mount(files, write=False))
    listed = files.file_systems()
    tags = {tag for report in reports for tag in report.tags}
    tags |= {("UUID", one.uuid) for one in listed if one.uuid}
    tags |= {("LABEL", one.label) for one in listed if one.label}
    swaps = {one.uuid for one in listed if one.type == "swap" and one.uuid}
    swaps |= {
        found.uuid
        for report in reports
        for place in report.places
        for found in place.holds
        if found.type == "swap" and found.uuid
    }
    texts = dict(_texts(files))
    return Facts(
        instance,
        reports,
        starts,
        frozenset(tags),
        frozenset(swaps),
        any(one.type == "crypto_LUKS" for one in listed),
        texts,
        _kernel(files, "\n".join(texts.get(path, "") for path in MENUS)),
        _loaders(files, unmounted),
        unmounted,
    )


def mount(files: GuestFiles, *, write: bool) -> Iterator[str]:
    """Mounts the file systems with what boots the guest; gives those that cannot be mounted."""
    entries = {entry.mountpoint: entry for entry in fstab.parsed(files.read(FSTAB) or "")}
    for place in _PLACES:
        entry = entries.get(place)
        writes = write and place == "/boot"
        if entry and not files.mount(entry.spec, place, write=writes):
            yield f"{place} ({entry.spec})"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KitError(f"disk {path}: {error.strerror}", hint="is it active?") from error
    try:
        yield fd, os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def _texts(files: GuestFiles) -> Iterator[tuple[str, str]]:
    for pattern in dict.fromkeys(_PATTERNS):
        for path in files.matching(pattern):
            text = files.read(path)
            if text is not None and len(text) <= MAX_TEXT:
                yield path, text


def _kernel(files: GuestFiles, menu: str) -> Kernel | None:
    """The kernel of the menu's first entry, else the last one in /boot."""
    paths = files.matching("/boot/vmlinuz-*")
    there = sorted((path.rpartition("/vmlinuz-")[2] for path in paths), key=_in_order)
    first = _KERNEL.search(menu)
    version = first[1] if first and first[1] in there else there[-1] if there else None
    if version is None:
        return None
    builtin = files.read(f"/lib/modules/{version}/modules.builtin") or ""
    known = drivers.modules(builtin.splitlines())
    for name in ("initrd.img-{}", "initramfs-{}.img", "initrd-{}"):
        name = f"/boot/{name.format(version)}"
        if files.exists(name):
            return _with_initramfs(files, version, known, name)
    return Kernel(version, known, frozenset())


def _in_order(version: str) -> list[tuple[int, str]]:
    """A key to sort versions by: 5.10.0-9 before 5.10.0-28."""
    return [
        (int(part) if part.isdecimal() else -1, part) for part in re.findall(r"\d+|\D+", version)
    ]


def _with_initramfs(files: GuestFiles, version: str, builtin: frozenset[str], path: str) -> Kernel:
    def read(offset: int, length: int) -> bytes:
        return files.part(path, offset, length)

    part = cpio.compressed_part(read, files.size(path))
    if part is None:
        return Kernel(version, builtin, None, "it is damaged, or of an unknown kind")
    if part.method not in _UNPACK:
        return Kernel(version, builtin, None, f"it is compressed by {part.method}")
    names = files.archived(path, part.offset, _UNPACK[part.method], "virtio")
    if names is None:
        return Kernel(version, builtin, None, "it cannot be read, or not in time")
    return Kernel(version, builtin, drivers.modules([*part.names, *names]))


def _loaders(files: GuestFiles, unmounted: Sequence[str]) -> tuple[str, ...] | None:
    if any(place.startswith(ESP) for place in unmounted):
        return None
    found = [*files.matching(f"{ESP}/EFI/*/*.efi"), *files.matching(f"{ESP}/EFI/*/*.EFI")]
    return tuple(dict.fromkeys(found)) or None
