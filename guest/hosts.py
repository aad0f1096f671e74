"""The guest's own /etc/hosts (hosts(5))."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

# Debian policy's fallback (its reference, section 5.1.1) for a host without a permanent address.
_NO_ADDRESS = IPv4Address("127.0.1.1")


def render(name: str, addresses: Sequence[IPv4Address | IPv6Address]) -> str:
    """/etc/hosts of a guest that is called `name` (its FQDN) and has these static addresses.

    The FQDN stands before the short name: `hostname -f` prints the first name of the line.
    """
    names = [name, *([name.partition(".")[0]] if "." in name else [])]
    own = [(str(address), " ".join(names)) for address in addresses or (_NO_ADDRESS,)]
    lines = [
        ("127.0.0.1", "localhost"),
        *own,
        ("::1", "localhost ip6-localhost ip6-loopback"),
        ("ff02::1", "ip6-allnodes"),
        ("ff02::2", "ip6-allrouters"),
    ]
    width = max(len(address) for address, _ in lines)
    return "".join(f"{address:<{width}} {names}\n" for address, names in lines)


def renamed(text: str, old: str, new: str) -> str:
    """The same /etc/hosts, where the FQDN and the short name of `old` became those of `new`.

    Only whole names change, case-insensitively as the resolver reads them; comments, addresses and
    spacing stay.
    """
    names = {old.partition(".")[0].lower(): new.partition(".")[0], old.lower(): new}
    return "".join(_renamed_line(line, names) for line in text.splitlines(keepends=True))


def _renamed_line(line: str, names: dict[str, str]) -> str:
    entry, mark, comment = line.partition("#")
    # Odd items are the white space between the words.
    words = re.split(r"(\s+)", entry)
    return "".join(names.get(word.lower(), word) for word in words) + mark + comment
