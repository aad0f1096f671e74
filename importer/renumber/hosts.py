"""The old addresses in /etc/hosts (hosts(5)). Pure."""

from collections.abc import Iterable

from importer.renumber import tokens
from importer.renumber.model import Change


def edited(text: str, changes: Iterable[Change]) -> str:
    """Gives the names of each old address the new one; comments and spacing are kept."""
    found = list(changes)
    lines = []
    for line in text.splitlines(keepends=True):
        entry, mark, comment = line.partition("#")
        for change in found:
            if (fresh := tokens.replaced(entry, change)) != entry:
                entry = fresh
                break  # a new address may be another NIC's old one
        lines.append(entry + mark + comment)
    return "".join(lines)
