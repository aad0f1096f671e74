"""Replaces addresses in a text, and nothing that only looks alike. Pure."""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address

from importer.renumber.model import Address, Change, Interface

# A dotted or colon-separated number that is no part of a longer one, nor of a name. A port may
# follow one of IPv4.
_TOKEN = re.compile(
    r"(?<![\w.])(?<![0-9A-Fa-f:]:)(\d{1,3}(?:\.\d{1,3}){3})(/\d{1,2})?(?![\w/]|\.\w)"
    # Behind one of IPv6, a colon may end a key of YAML.
    r"|(?<![\w.:])((?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]{2,39})(/\d{1,3})?(?![\w/]|:(?!\s|\Z)|\.\w)"
    # One of IPv6 may end as one of IPv4, such as ::ffff:192.0.2.1.
    r"|(?<![\w.:])([0-9A-Fa-f:]{2,29}:\d{1,3}(?:\.\d{1,3}){3})(/\d{1,3})?(?![\w/]|\.\w)"
)
_MAC = re.compile(r"(?<![\w:.-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:.-])")


def replaced(text: str, change: Change) -> str:
    """Replaces the old addresses, their networks and broadcast addresses, and the old gateways.

    A prefix length of a host stays; others become that of the new network.
    """
    exact = _exact(change.pairs, change.gateways)

    def fresh(match: re.Match[str]) -> str:
        address, prefix = _parsed(match), match[2] or match[4] or match[6] or ""
        if address is None:
            return match[0]
        length = int(prefix[1:]) if prefix else None
        for old, new in change.pairs:
            if length is not None and length != old.max_prefixlen:
                if address == old.ip:
                    return str(new)
                if address == old.network.network_address and length == old.network.prefixlen:
                    return str(new.network)
        found = exact.get(address)
        return match[0] if found is None else f"{found}{prefix}"

    return _TOKEN.sub(fresh, text)


def with_mac(text: str, old: str, new: str) -> str:
    """Replaces a MAC address, with colons or hyphens; `old` "" stands for any."""

    def fresh(match: re.Match[str]) -> str:
        found = match[0].lower().replace("-", ":")
        return match[0] if found == new or old not in ("", found) else new

    return _MAC.sub(fresh, text)


def addresses_in(text: str) -> frozenset[Address]:
    """All addresses in a text, and those of IPv4 in ::ffff:0:0/96 as what they stand for."""
    found = {a for match in _TOKEN.finditer(text) if (a := _parsed(match)) is not None}
    found |= {a.ipv4_mapped for a in found if isinstance(a, IPv6Address) and a.ipv4_mapped}
    return frozenset(found)


def spellings(address: Address) -> frozenset[str]:
    """The usual ways to write an address, lower case: with and without leading zeros and `::`.

    One of IPv4 has those in ::ffff:0:0/96, too, but for the ones that end with it.
    """
    if isinstance(address, IPv4Address):
        return frozenset({str(address)}) | spellings(IPv6Address(f"::ffff:{address}"))
    found = {str(address)}
    whole = groups_of(address)
    for groups in (whole, [f"{int(group, 16):x}" for group in whole]):
        found.add(":".join(groups))
        zeros = "".join("0" if int(group, 16) == 0 else "x" for group in groups)
        for run in re.finditer("0+", zeros):
            found.add(f"{':'.join(groups[: run.start()])}::{':'.join(groups[run.end() :])}")
    return frozenset(found)


def groups_of(address: IPv6Address) -> list[str]:
    """Its eight groups with leading zeros. `exploded` of Python 3.13 fails for ::ffff:0:0/96."""
    return [address.packed[place : place + 2].hex() for place in range(0, 16, 2)]


def _exact(
    pairs: Iterable[tuple[Interface, Interface]], gateways: Iterable[tuple[Address, Address]]
) -> Mapping[Address, Address]:
    found: dict[Address, Address] = {}
    for old, new in pairs:
        if (
            isinstance(old, IPv4Interface)
            and max(old.network.prefixlen, new.network.prefixlen) < 31
        ):
            found[old.network.broadcast_address] = new.network.broadcast_address
            found[old.network.network_address] = new.network.network_address
    found.update(gateways)
    found.update((old.ip, new.ip) for old, new in pairs)
    return found


def _parsed(match: re.Match[str]) -> Address | None:
    try:
        return ip_address(match[1] or match[3] or match[5])
    except ValueError:
        return None
