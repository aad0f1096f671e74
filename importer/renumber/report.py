"""What `renumber` prints. Pure."""

import re
from collections.abc import Iterator, Sequence

from importer.editing import Edit
from importer.renumber.mentions import Mentions
from importer.renumber.model import Address, Change, Interface
from importer.renumber.tokens import addresses_in
from node.text import printable

MAX_MENTIONS = 100
MAX_WIDTH = 120


def old_addresses(changes: Sequence[Change]) -> tuple[Address, ...]:
    """The addresses and gateways that a guest loses, those of NICs first."""
    kept = {new.ip for change in changes for new in change.config.addresses}
    kept |= {new for change in changes for _, new in change.gateways}
    found = [old.ip for change in changes for old in change.old]
    found += [old for change in changes for old, _ in change.gateways]
    return tuple(dict.fromkeys(address for address in found if address not in kept))


def addresses(changes: Sequence[Change], edits: Sequence[Edit]) -> list[str]:
    """A line for each address of each NIC: the old and the new one, as the guest's files have it.

    Args:
        changes: of all NICs.
        edits: of the files.
    """
    return [line for change in changes for line in _of(change, edits)]


def mentions(found: Mentions) -> list[str]:
    """The lines of files that mention old addresses."""
    shown = found.lines[:MAX_MENTIONS]
    lines = [f"{one.path}:{one.number}: {one.text.strip()}"[:MAX_WIDTH] for one in shown]
    if len(found.lines) > len(shown):
        lines.append(f"and {len(found.lines) - len(shown)} more lines")
    return [printable(line) for line in (*lines, *found.notes)]


def _of(change: Change, edits: Sequence[Edit]) -> Iterator[str]:
    what = f"NIC {change.index} ({change.interface or change.old_mac})"
    paired = dict(change.pairs)
    for new in change.config.addresses:
        old = next((one for one, other in paired.items() if other == new), None)
        if old is None:
            yield f"{what}: new {new}"
        elif old.ip == new.ip:
            yield f"{what}: has {_written(old, new, edits)}"
        else:
            yield f"{what}: {old} -> {_written(old, new, edits)}"
    for before, after in change.gateways:
        if before != after:
            yield f"{what}: gateway {before} -> {after}"
    if not change.config.addresses:
        yield f"{what}: no address is changed"


def _written(old: Interface, new: Interface, edits: Sequence[Edit]) -> str:
    """The new address with its prefix: that of a host stays (`tokens.replaced`).

    An old address without any prefix gets that of the network.
    """
    host = f"{new.ip}/{new.max_prefixlen}"
    if old.network.prefixlen < old.max_prefixlen:
        return str(new)
    texts = [edit.new for edit in edits if new.ip in addresses_in(edit.new)]
    if old.ip == new.ip and not texts:
        return str(old)
    pattern = re.compile(rf"(?<![\w.:]){re.escape(host)}(?!\w)")
    return host if any(pattern.search(text) for text in texts) else str(new)
