"""The guest's host name and its /etc/hosts (hosts(5))."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

# Debian policy's fallback (its reference, section 5.1.1) for a host without a permanent address.
_NO_ADDRESS = IPv4Address("127.0.1.1")


# The maximum length of a host name on Linux, in bytes (sethostname(2), gethostname(2)).
HOST_NAME_MAX = 64


def own_name(name: str, *, short: bool = False) -> str:
    """The name for hostname(5): the whole name, or its first part.

    If the whole name is longer than HOST_NAME_MAX, the first part is used.

    Raises:
        ValueError: the first part is too long, too.
    """
    first = name.partition(".")[0]
    chosen = first if short or len(name) > HOST_NAME_MAX else name
    if len(chosen) > HOST_NAME_MAX:
        raise ValueError(f"{chosen} has {len(chosen)} characters, the limit is {HOST_NAME_MAX}")
    return chosen


def render(name: str, addresses: Sequence[IPv4Address | IPv6Address]) -> str:
    """The text of /etc/hosts of a guest with this name (FQDN) and these static addresses.

    The FQDN is before the short name: `hostname -f` prints the first name of the line.
    """
    own = [(str(address), " ".join(_names(name))) for address in addresses or (_NO_ADDRESS,)]
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
    """Replaces the FQDN and the short name of `old` by those of `new` in an /etc/hosts.

    Only whole names are replaced, case-insensitively, as the resolver compares them. Comments,
    addresses and spacing are kept. An `old` without a dot is replaced by both names of `new`. No
    line gets a new name twice.
    """
    if old == new:
        return text
    if "." in old:
        names = {old.partition(".")[0].lower(): _names(new)[-1:], old.lower(): (new,)}
    else:
        names = {old.lower(): _names(new)}
    return "".join(_renamed_line(line, names) for line in text.splitlines(keepends=True))


def _names(name: str) -> tuple[str, ...]:
    """The FQDN and the short name, or the only name."""
    return (name, name.partition(".")[0]) if "." in name else (name,)


def _renamed_line(line: str, names: Mapping[str, Sequence[str]]) -> str:
    entry, mark, comment = line.partition("#")
    # Odd items are the white space between the words.
    words = re.split(r"(\s+)", entry)
    taken = {word.lower() for word in words[::2]} - names.keys()
    parts = []
    for space, word in zip(["", *words[1::2]], words[::2], strict=True):
        if word.lower() not in names:
            parts.append(space + word)
            continue
        fresh = [name for name in names[word.lower()] if name.lower() not in taken]
        taken.update(name.lower() for name in fresh)
        if fresh:
            parts.append(space + " ".join(fresh))
    return "".join(parts) + mark + comment
