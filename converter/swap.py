"""Makes swap areas anew with mkswap(8)."""

import os
import struct
from collections.abc import Iterable

from converter.contents.swap_header import (
    BOOT_SIZE,
    FORMS,
    MAGIC,
    MAGIC_SIZE,
    MIN_LAST_PAGE,
    Header,
    SwapArea,
    parsed,
)
from converter.errors import SwapNotMade
from converter.extents import Extent, Kind
from node.run import run


def replacements(
    areas: Iterable[SwapArea], target_size: int, disk_size: int, *, kept_until: int = 0
) -> list[Extent]:
    """The extents that replace the swap areas on the target: new headers, then zeros.

    They are in order and do not overlap. An area that is the whole disk gets the target's size.

    Args:
        areas: of a source of `disk_size` bytes.
        target_size: bytes.
        disk_size: bytes.
        kept_until: before this byte of the disk, what the target has stays instead of zeros: an
            earlier copy made the area, and after its header its bytes have no meaning.

    Raises:
        KitError: mkswap failed, or made another header than asked for.
    """
    extents = []
    for area in sorted(areas, key=lambda area: area.start):
        whole = (area.start, area.length) == (0, disk_size)
        length = target_size if whole else area.length
        page = new_header(area, length)
        behind = area.start + len(page)
        end = area.start + length
        zeros = min(max(behind, kept_until), end)
        rest = (
            Extent(behind, zeros - behind, Kind.SAME, host_offset=behind),
            Extent(zeros, end - zeros, Kind.ZERO),
        )
        extents.append(Extent(area.start, len(page), Kind.LITERAL, literal=page))
        extents += [extent for extent in rest if extent.length]
    return extents


def new_header(area: SwapArea, length: int) -> bytes:
    """The first page of a new swap area of `length` bytes; the rest of an area has no meaning.

    mkswap makes it in memory. It uses the byte order of this machine, and takes only labels that
    are text of up to 15 bytes, so byte order and label are set afterwards.

    Raises:
        KitError: mkswap failed, or made another header than asked for.
    """
    what = f"mkswap for the swap area at byte {area.start}"
    descriptor = os.memfd_create("swap", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)  # mkswap warns about other modes
        try:
            os.ftruncate(descriptor, length)
        except OSError as error:
            raise SwapNotMade(f"{what}: {length} bytes: {error.strerror}") from error
        run(
            [
                *("mkswap", "--uuid", str(area.uuid), "--pagesize", str(area.page_size)),
                f"/proc/{os.getpid()}/fd/{descriptor}",
            ],
            what=what,
        )
        made = os.pread(descriptor, area.page_size, 0)
    finally:
        os.close(descriptor)
    page = bytearray(made)
    words = struct.unpack_from("=III", page, BOOT_SIZE)
    struct.pack_into(FORMS[area.byteorder], page, BOOT_SIZE, *words)
    page[BOOT_SIZE + 28 : BOOT_SIZE + 44] = area.label
    page[: len(area.boot)] = area.boot

    header = parsed(page)
    wanted = Header(area.byteorder, header.last_page if header else 0, 0, area.uuid, area.label)
    if (
        header != wanted
        or page[-MAGIC_SIZE:] != MAGIC
        or not MIN_LAST_PAGE <= header.last_page < length // area.page_size
    ):
        raise SwapNotMade(f"{what}: it made a header that is not what was asked for")
    return bytes(page)
