"""Plans what replaces the source's bytes on the target: new swap headers, a moved GPT."""

from collections.abc import Sequence
from typing import NamedTuple

from converter import swap
from converter.contents import gpt, swap_header
from converter.contents.swap_header import SwapArea
from converter.extents import Extent
from converter.options import SwapMode
from converter.reading import Read
from node.errors import KitError
from node.log import log


class Replacements(NamedTuple):
    """Extents in order, not overlapping, and notes that describe them."""

    extents: tuple[Extent, ...]
    notes: tuple[str, ...]


def swap_areas(read: Read, size: int, name: str, *, mode: SwapMode) -> Sequence[SwapArea]:
    """The swap areas of a disk that are to be made anew.

    Args:
        read: reads the disk.
        size: of the disk, bytes.
        name: of the source, as the user gave it.
        mode: make them anew, or copy them as they are.

    Raises:
        KitError: one holds a hibernated system, which must not be lost.
    """
    if mode == "copy":
        return ()
    try:
        found = swap_header.find_areas(read, size)
    except ValueError as error:
        raise KitError(f"source {name}: {error}", hint="is the source complete?") from error
    for warning in found.warnings:
        log.warning("%s", warning)
    swap_header.require_awake(found.areas, name)
    return found.areas


def plan_replacements(
    areas: Sequence[SwapArea],
    read: Read,
    size: int,
    target_size: int,
    *,
    fix_gpt: bool,
    kept_until: int = 0,
) -> Replacements:
    """All replacements for a disk of `size` bytes on a target of `target_size` bytes.

    Args:
        areas: those that are made anew.
        read: reads the disk.
        size: of the disk.
        target_size: of the target.
        fix_gpt: whether the backup of a GPT is moved to the end of a larger target.
        kept_until: before this byte, the target holds an earlier copy; 0 for none.

    Raises:
        KitError: mkswap did not make the header that is needed.
    """
    extents = swap.replacements(areas, target_size, size, kept_until=kept_until)
    notes = [
        f"swap at byte {area.start}: made anew, not copied: UUID {area.uuid}" for area in areas
    ]
    whole = any(area.start == 0 for area in areas)
    if fix_gpt and not whole and (repair := gpt.repaired(read, size, target_size)) is not None:
        extents = sorted([*extents, *repair.extents], key=lambda extent: extent.guest_offset)
        notes.append(repair.why)
    return Replacements(tuple(extents), tuple(notes))
