"""Finds where an image ends in its file or on its device. No input or output.

A fixed VHD and a stream-optimised VMDK have their description at the end. If something follows it
(a tool appended to the file, or the block device is larger), QEMU does not find the description.
"""

import struct
from collections.abc import Callable, Iterator

from converter.formats.foreign import SECTOR, VHD_MAGIC, ForeignError
from converter.reading import Read

SEARCHED = 64 << 20  # bytes before the end: more than the usual size of an LVM extent
_PIECE = 4 << 20  # bytes read at once
_AT_END = 2**64 - 1  # a VMDK header's offset of the directory, if the footer has it


def end(image_format: str, read: Read, size: int) -> int:
    """The offset where an image ends; the file's size, if no description is found at its end.

    Args:
        image_format: one of `foreign.NAMES`.
        read: reads the file.
        size: of the file, bytes.

    Raises:
        ForeignError: two offsets fit: the end of this image and that of an earlier, larger one.
    """
    head = read(0, min(size, SECTOR))
    found = None
    if image_format == "vpc" and not head.startswith(VHD_MAGIC):
        # The footer states the disk's size, and directly follows the disk.
        found = _only(read, size, VHD_MAGIC, lambda at, footer: _stated(footer, ">Q", 48) == at)
        found = None if found is None else found + SECTOR
    elif image_format == "vmdk" and head.startswith(b"KDMV") and _stated(head, "<Q", 56) == _AT_END:
        # The footer repeats the header except the directory's offset; a marker of zeros follows.
        found = _only(read, size, b"KDMV", lambda at, footer: at > 0 and footer[8:56] == head[8:56])
        found = None if found is None else found + 2 * SECTOR
    return size if found is None or found > size else found


def _stated(sector: bytes, form: str, place: int) -> int:
    if len(sector) < SECTOR:
        return 0
    return int(struct.unpack_from(form, sector, place)[0])


def _only(read: Read, size: int, magic: bytes, fits: Callable[[int, bytes], bool]) -> int | None:
    """The offset of the only sector that begins with a magic and fits; None if there is none."""
    places = _fitting(read, size, magic, fits)
    found, another = next(places, None), next(places, None)
    if another is not None:
        raise ForeignError(
            f"its end can be at byte {another} or at byte {found}: one of them is left of an"
            " earlier image",
        )
    return found


def _fitting(
    read: Read, size: int, magic: bytes, fits: Callable[[int, bytes], bool]
) -> Iterator[int]:
    """The offsets of the sectors that begin with a magic and fit, the last one first."""
    upto = size - size % SECTOR
    lowest = max(0, upto - SEARCHED)
    while upto > lowest:
        start = max(lowest, upto - _PIECE)
        piece = read(start, upto - start)
        place = piece.rfind(magic)
        while place >= 0:
            if place % SECTOR == 0 and fits(start + place, piece[place : place + SECTOR]):
                yield start + place
            place = piece.rfind(magic, 0, place + len(magic) - 1)
        upto = start
