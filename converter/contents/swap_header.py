"""Finds the swap areas of a disk. Pure.

The header is union swap_header of the kernel's include/linux/swap.h: 1024 bytes for a boot loader;
then version, last page and number of bad pages in the machine's byte order; then UUID and label.
The signature is in the last ten bytes of the first page.
"""

import mmap
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

from converter.contents.magics import others
from converter.contents.partitions import table
from converter.contents.superblocks import signatures
from converter.errors import HibernatedSwap
from converter.reading import Read, Window

PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)
MAGIC_SIZE = 10  # bytes, at the end of the first page
MAGIC = b"SWAPSPACE2"
OLD_MAGIC = b"SWAP-SPACE"  # of version 0, which has no UUID; Linux does not support it since 2.5
# The signatures that swsusp, uswsusp and the kernel's LINHIB write instead, as in libblkid.
HIBERNATED = {
    b"S1SUSPEND": "S1SUSPEND",
    b"S2SUSPEND": "S2SUSPEND",
    b"ULSUSPEND": "ULSUSPEND",
    b"LINHIB0001": "LINHIB0001",
}
# TuxOnIce's signature is at byte 0; the swap signature stays in place (libblkid's swap.c).
TUXONICE = b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c"
BOOT_SIZE = 1024  # bytes, before the header
LABEL_SIZE = 16  # bytes
MIN_LAST_PAGE = 9  # mkswap makes at least ten pages

ByteOrder = Literal["little", "big"]
# Version, last page, number of bad pages.
FORMS: dict[ByteOrder, str] = {"little": "<III", "big": ">III"}


class Header(NamedTuple):
    """A parsed header of version 1."""

    byteorder: ByteOrder
    last_page: int
    bad_pages: int
    uuid: UUID
    label: bytes  # all its 16 bytes


@dataclass(frozen=True)
class SwapArea:
    """A swap area that can be made anew; bytes.

    On a whole disk it extends to the disk's end; in a partition it has the size in its header.
    """

    start: int
    length: int
    page_size: int
    byteorder: ByteOrder
    uuid: UUID  # may be nil
    label: bytes  # all its 16 bytes, of any encoding
    boot: bytes  # the first 1024 bytes if they may contain a boot loader, else empty
    version: int = 1
    hibernated: str | None = None  # the name of the hibernation signature, if there is one


def new_area(uuid: UUID, label: str) -> SwapArea:
    """The swap area of a whole disk of a guest of this machine's kind.

    Raises:
        ValueError: the label is too long.
    """
    encoded = label.encode(errors="surrogateescape")
    if len(encoded) > LABEL_SIZE:
        raise ValueError(f"label {label!r}: longer than {LABEL_SIZE} bytes")
    padded = encoded.ljust(LABEL_SIZE, b"\0")
    return SwapArea(0, 0, mmap.PAGESIZE, sys.byteorder, uuid, padded, b"")


class Found(NamedTuple):
    """The swap areas of a disk in order; warnings name what only looks like swap."""

    areas: tuple[SwapArea, ...]
    warnings: tuple[str, ...]


class _DoubtError(ValueError):
    """It looks like swap, but must be copied as it is."""


def find_areas(read: Read, size: int) -> Found:
    """The swap areas of a disk of `size` bytes: the whole disk, or partitions of any type.

    The warnings include those of the partition table.

    Raises:
        ValueError: `read` returned fewer bytes than asked for.
    """
    areas: list[SwapArea] = []
    warnings: list[str] = []

    def look(window: Window, place: str) -> None:
        try:
            if (area := _area(window)) is not None:
                areas.append(area)
        except _DoubtError as doubt:
            warnings.append(f"{place}: swap {doubt}; it is copied as it is")

    disk = Window(read, 0, size)
    found = table(read, size)
    if found is None:
        look(disk, "whole disk")
        header = parsed(disk.at(0, PAGE_SIZES[0]))
        if areas and header and (header.last_page + 2) * areas[0].page_size <= size:
            said = (header.last_page + 1) * areas[0].page_size
            warnings.append(
                f"whole disk: swap of {said} bytes on a disk of {size} bytes; "
                "it is made anew over all of it"
            )
        return Found(tuple(areas), tuple(warnings))
    warnings += found.warnings
    if _magics(disk.at(0, PAGE_SIZES[-1])):
        warnings.append(
            "whole disk: swap, but there is a partition table, too; it is copied as it is"
        )
    for partition in sorted(found.partitions, key=lambda partition: partition.start):
        look(Window(read, partition.start, partition.length), f"partition {partition.number}")
    return Found(tuple(areas), tuple(warnings))


def require_awake(areas: Iterable[SwapArea], name: str) -> None:
    """Checks that no system hibernates in a source's swap.

    Raises:
        HibernatedSwap: one does: its memory would be lost, and its file systems are in use.
    """
    for area in areas:
        if area.hibernated:
            raise HibernatedSwap(name, area.start, area.hibernated)


def parsed(page: bytes | bytearray) -> Header | None:
    """The header in a first page; None if it has no known version in either byte order."""
    uuid = UUID(bytes=bytes(page[BOOT_SIZE + 12 : BOOT_SIZE + 28]))
    label = bytes(page[BOOT_SIZE + 28 : BOOT_SIZE + 44])
    for order, form in FORMS.items():
        version, last_page, bad_pages = struct.unpack_from(form, page, BOOT_SIZE)
        if version == 1:
            return Header(order, last_page, bad_pages, uuid, label)
    return None


def _magics(head: bytes) -> list[tuple[int, bytes]]:
    """The signatures of swap and of hibernation in the first 64 KiB, with their page sizes."""
    ends = [(size, head[size - MAGIC_SIZE : size]) for size in PAGE_SIZES]
    known = (MAGIC, OLD_MAGIC, *HIBERNATED)
    return [(size, end) for size, end in ends if end.startswith(known)]


def _asleep(window: Window, head: bytes, magics: list[tuple[int, bytes]]) -> SwapArea:
    """A swap area with a system hibernated by TuxOnIce, whatever else it contains."""
    page_size = magics[0][0] if magics else PAGE_SIZES[0]
    header = parsed(head) or Header("little", 0, 0, UUID(int=0), bytes(16))
    return SwapArea(
        window.start,
        window.length,
        page_size,
        header.byteorder,
        header.uuid,
        header.label,
        head[:BOOT_SIZE],
        hibernated="TuxOnIce",
    )


def _area(window: Window) -> SwapArea | None:
    """The swap area that a disk or partition is, or None."""
    head = window.at(0, PAGE_SIZES[-1])
    magics = _magics(head)
    if head.startswith(TUXONICE):
        return _asleep(window, head, magics)
    if not magics:
        return None
    if len(magics) > 1:
        raise _DoubtError("with signatures of several page sizes")
    if too := sorted({*(signature.type for signature in signatures(window)), *others(window)}):
        raise _DoubtError(f"that is {' and '.join(too)}, too")
    page_size, magic = magics[0]
    if magic == OLD_MAGIC:
        raise _DoubtError("of version 0, which has no UUID")
    hibernated = next((name for start, name in HIBERNATED.items() if magic.startswith(start)), None)
    header = parsed(head)
    if header is None and hibernated is None:
        raise _DoubtError("of an unknown version")
    if header is None:  # the hibernated system has overwritten it
        header = Header("little", window.length // page_size - 1, 0, UUID(int=0), bytes(16))
    length = (header.last_page + 1) * page_size
    if hibernated is None:
        if header.last_page < MIN_LAST_PAGE or length > window.length:
            raise _DoubtError(f"of {length} bytes in a place of {window.length} bytes")
        if header.bad_pages:
            raise _DoubtError(f"with a list of {header.bad_pages} bad pages")
    whole = window.start == 0
    boot = head[:BOOT_SIZE]
    return SwapArea(
        window.start,
        window.length if whole else min(length, window.length),
        page_size,
        header.byteorder,
        header.uuid,
        header.label,
        boot if any(boot) else b"",
        hibernated=hibernated,
    )
