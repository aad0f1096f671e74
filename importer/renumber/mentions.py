"""Where else a guest mentions addresses that it loses."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from guest import fstab
from importer.editing import KEPT, Edit
from importer.renumber.model import Address
from importer.renumber.tokens import addresses_in, spellings
from node.guest_files import GuestFiles, Line

ETC, SRV = "/etc", "/srv"


@dataclass(frozen=True)
class Mentions:
    """The lines, and what was not searched; one sentence each."""

    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def search(
    files: GuestFiles, addresses: Collection[Address], edits: Sequence[Edit], *, srv: bool
) -> Mentions:
    """Searches /etc for addresses, in text files of at most 1 MiB each.

    Args:
        files: of the guest.
        addresses: that are searched for.
        edits: of files whose new texts count.
        srv: whether to search /srv, too, with the file systems that fstab has there.
    """
    if not addresses:
        return Mentions((), ())
    words = sorted({word for address in addresses for word in spellings(address)})
    notes = []
    tops = [ETC]
    if srv:
        tops.append(SRV)
        for entry in sorted(fstab.parsed(files.read("/etc/fstab") or ""), key=_place):
            is_below = entry.mountpoint == SRV or entry.mountpoint.startswith(f"{SRV}/")
            if is_below and not files.mount(entry.spec, entry.mountpoint):
                notes.append(f"{entry.mountpoint}: {entry.spec} could not be mounted")
    lines: list[Line] = []
    for top in tops:
        found = files.search(words, top, but=KEPT)
        lines += found.lines
        if not found.complete:
            notes.append(f"{top}: the search was stopped at its limit: there may be more")
    edited = {edit.path for edit in edits}
    lines = [line for line in lines if line.path not in edited]
    for edit in edits:
        lines += [Line(edit.path, n, text) for n, text in enumerate(edit.new.splitlines(), 1)]
    kept = [line for line in lines if addresses_in(line.text) & set(addresses)]
    return Mentions(tuple(sorted(kept)), tuple(notes))


def _place(entry: fstab.Entry) -> str:
    return entry.mountpoint
