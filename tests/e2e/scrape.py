"""Reads the facts about a new instance from Ganeti's OS log, as users do."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

# Exactly the README's command: users and scripts run it on the node.
COMMAND = (
    "egrep 'root password|configured eth0 with|SHA256'"
    " $(ls -tr /var/log/ganeti/os/* | tail -1) | grep -v $(hostname)"
)

PASSWORD = re.compile(r"root password: (?P<word>[A-Za-z0-9]{20,})")
ADDRESS = re.compile(r"configured eth0 with (?P<word>[0-9a-f.:]+/\d+)")
FINGERPRINT = re.compile(r"\d+ (?P<word>SHA256:[A-Za-z0-9+/]{43}) \S+ \([A-Z0-9]+\)")


@dataclass(frozen=True)
class Facts:
    """How to log in to a new instance."""

    password: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    fingerprints: frozenset[str]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to connect to, without prefix lengths."""
        return tuple(str(address.ip) for address in self.addresses)


def parse(lines: Iterable[str]) -> Facts:
    """Parses the command's output: one password, addresses, fingerprints, and nothing else."""
    found: dict[re.Pattern[str], list[str]] = {PASSWORD: [], ADDRESS: [], FINGERPRINT: []}
    for line in lines:
        matches = [(kind, kind.fullmatch(line)) for kind in found]
        words = [(kind, match["word"]) for kind, match in matches if match]
        assert len(words) == 1, f"the scrape printed a line that is none of its three: {line!r}"
        found[words[0][0]].append(words[0][1])
    assert len(found[PASSWORD]) == 1, f"{len(found[PASSWORD])} passwords in the OS log"
    assert len(set(found[FINGERPRINT])) == len(found[FINGERPRINT]), "a fingerprint twice"
    addresses = tuple(ip_interface(word) for word in found[ADDRESS])
    return Facts(found[PASSWORD][0], addresses, frozenset(found[FINGERPRINT]))
