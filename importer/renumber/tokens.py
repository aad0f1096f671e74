"""Replaces addresses in a text, and nothing that only looks alike. Pure."""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Interface, ip_address

from importer.renumber.model import Address, Change, Interface

# A dotted or colon-separated number that is no part of a longer one, nor of a name. A port may
# follow one of IPv4.
_TOKEN = re.compile(
    r"(?<![\w.])(?<![0-9A-Fa-f:]:)(\d{1,3}(?:\.\d{1,3}){3})(/\d{1,2})?(?![\w/]|\.\w)"
    r"|(?<![\w.:])((?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]{2,39})(/\d{1,3})?(?![\w/:]|\.\w)"
)
_MAC = re.compile(r"(?<![\w:.-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:.-])")


def replaced(text: str, change: Change) -> str:
    """Replaces the old addresses, their networks and broadcast addresses, and the old gateways.

    A prefix length of a host stays; others become that of the new network.
    """
    exact = _exact(change.pairs, change.gateways)

    def fresh(match: re.Match[str]) -> str:
        address, prefix = _parsed(match[1] or match[3]), match[2] or match[4] or ""
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
    """All addresses in a text."""
    found = (_parsed(match[1] or match[3]) for match in _TOKEN.finditer(text))
    return frozenset(address for address in found if address is not None)


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


def _parsed(word: str) -> Address | None:
    try:
        return ip_address(word)
    except ValueError:
        return None
