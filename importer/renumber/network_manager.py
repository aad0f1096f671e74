"""Edits NetworkManager's keyfiles (nm-settings-keyfile(5)). Pure."""

import re
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_interface

from importer.renumber import tokens
from importer.renumber.inifile import Setting, after, settings
from importer.renumber.model import Address, Change, Family, Interface, Seen, change_of

_ETHERNET = ("ethernet", "802-3-ethernet")
_ADDRESS = re.compile(r"address(es)?\d*")
_MACS = ("mac-address", "cloned-mac-address")
_CLOSED = ("disabled", "ignore", "link-local")
_OVER = ("bridge", "bond", "team")
_FAMILIES: dict[str, Family] = {"ipv4": "inet", "ipv6": "inet6"}


def seen(file: str, text: str) -> list[Seen]:
    """The interface that a keyfile configures, and the bridge or bond that it joins."""
    found = list(settings(text.splitlines()))
    name, mac = _match(found)
    values = {(one.section, one.key): one.value for one in found}
    kind = values.get(("connection", "type"), "ethernet")
    if not name and not mac:
        return []
    methods = {
        family: values.get((section, "method"), "auto") for section, family in _FAMILIES.items()
    }
    here = Seen(
        file,
        name,
        mac,
        addresses=tuple(a for one in found if (a := _address(one))),
        gateways=tuple(g for one in found if (g := _gateway(one))),
        asks=frozenset(family for family, method in methods.items() if method == "auto"),
        closed=frozenset(family for family, method in methods.items() if method in _CLOSED),
        kind="nic" if kind in _ETHERNET else "over" if kind in _OVER else "other",
    )
    over = values.get(("connection", "controller")) or values.get(("connection", "master"), "")
    return [here, *([Seen(file, over, below=(name,), kind="over")] if over and name else [])]


def edited(text: str, changes: Sequence[Change]) -> str:
    """Replaces addresses, gateways and MAC addresses; adds an IPv6 address."""
    lines = text.splitlines(keepends=True)
    found = list(settings(lines))
    name, mac = _match(found)
    change = change_of(changes, name, mac)
    card = change or next((one for one in changes if name and one.card == name), None)
    if card is None:
        return text
    for one in found:
        if one.section in _ETHERNET and one.key in _MACS:
            lines[one.place] = tokens.with_mac(lines[one.place], "", card.config.mac)
        elif change and one.section in _FAMILIES and not one.key.startswith("dns"):
            lines[one.place] = tokens.replaced(lines[one.place], change)
    if change:
        _adapt(lines, change)
    if change and change.adds4:
        _fix4(lines, found, change)
    holds = change and any(_address(one) == old for one in found for old in change.old)
    if change and change.adds6 and (holds or change.adds4):
        _add6(lines, found, change)
    return "".join(lines)


def _adapt(lines: list[str], change: Change) -> None:
    """Writes prefix lengths that stand alone, and lets routes without a gateway go to the link."""
    for one in list(settings(lines)):
        address = _address(one)
        for _, new in change.pairs:
            if address and address.ip == new.ip and "/" not in one.value:
                apart = re.compile(rf"({re.escape(str(new.ip))}\s*[,;]\s*)\d+")
                lines[one.place] = apart.sub(rf"\g<1>{new.network.prefixlen}", lines[one.place])
    found = list(settings(lines))
    for one in found:
        gateway = _gateway(one)
        if gateway is None or not change.loses(gateway):
            continue
        none, any_ = ("0.0.0.0", "0.0.0.0/0") if gateway.version == 4 else ("::", "::/0")
        route = f"route{_free_route(found, one.section)}={any_}"
        if one.key == "gateway":
            lines[one.place] = f"{route}\n"
        elif _ADDRESS.fullmatch(one.key):
            parts = re.split(r"([,;])", one.value)
            place = next(n for n, part in enumerate(parts) if _ip(part) == gateway)
            kept = "".join(parts[: place - 1])
            lines[one.place] = lines[one.place].replace(one.value, kept)
            after(lines, one.place, [route])
        else:
            value = one.value.replace(str(gateway), none)
            lines[one.place] = lines[one.place].replace(one.value, value)


def _free_route(found: Sequence[Setting], section: str) -> int:
    """The first number of a route that a section does not have."""
    taken = {one.key for one in found if one.section == section}
    return next(number for number in range(1, len(found) + 2) if f"route{number}" not in taken)


def _fix4(lines: list[str], found: Sequence[Setting], change: Change) -> None:
    """Puts address, gateway and name servers in place of DHCP."""
    config, resolver = change.config, change.resolver
    gateway = "" if config.gateway is None else f",{config.gateway}"
    own = ["method=manual", f"address1={config.address4}{gateway}"]
    if config.device_route:
        own.append(f"route{_free_route(found, 'ipv4')}=0.0.0.0/0")
    if resolver and resolver.nameservers:
        own.append(f"dns={''.join(f'{server};' for server in resolver.nameservers)}")
    if resolver and resolver.search:
        own.append(f"dns-search={''.join(f'{domain};' for domain in resolver.search)}")
    method = [one for one in found if (one.section, one.key) == ("ipv4", "method")]
    heads = [place for place, line in enumerate(lines) if line.strip() == "[ipv4]"]
    if method:
        lines[method[0].place] = "".join(f"{line}\n" for line in own)
    elif heads:
        after(lines, heads[0], own)
    else:
        after(lines, len(lines) - 1, ["", "[ipv4]", *own])


def _add6(lines: list[str], found: Sequence[Setting], change: Change) -> None:
    """Adds the address to the section ipv6; its method may stay `auto`."""
    config = change.config
    gateway = "" if config.gateway6 is None else f",{config.gateway6}"
    own = [f"address1={config.address6}{gateway}"]
    if config.device_route6:
        own.append(f"route{_free_route(found, 'ipv6')}=::/0")
    section = [one for one in found if one.section == "ipv6"]
    if section:
        after(lines, section[-1].place, own)
        return
    heads = [place for place, line in enumerate(lines) if line.strip() == "[ipv6]"]
    if heads:
        after(lines, heads[0], ["method=auto", *own])
    else:
        after(lines, len(lines) - 1, ["", "[ipv6]", "method=auto", *own])


def _match(found: Sequence[Setting]) -> tuple[str, str]:
    """The name and MAC address; a keyfile that has neither is for any NIC, if it has addresses."""
    name = mac = ""
    kind = next((o.value for o in found if (o.section, o.key) == ("connection", "type")), "")
    for one in found:
        if (one.section, one.key) == ("connection", "interface-name"):
            name = one.value
        elif one.section in _ETHERNET and one.key == "mac-address":
            mac = one.value.lower().replace("-", ":")
    if not name and not mac and kind in _ETHERNET and any(_address(one) for one in found):
        name = "*"
    return name, mac


def _parts(value: str) -> tuple[str, str]:
    """The address with its prefix length, and the gateway: `A/24,G`, or in old files `A;24;G`."""
    first, second, third, *_ = [part.strip() for part in re.split("[,;]", value)] + ["", "", ""]
    if "/" not in first and second.isdecimal():
        return f"{first}/{second}", third
    return first, second


def _address(one: Setting) -> Interface | None:
    if one.section in _FAMILIES and _ADDRESS.fullmatch(one.key):
        with suppress(ValueError):
            return ip_interface(_parts(one.value)[0])
    return None


def _gateway(one: Setting) -> Address | None:
    if one.section not in _FAMILIES:
        return None
    first, second = _parts(one.value)
    is_default = re.fullmatch(r"routes?\d*", one.key) and first in ("0.0.0.0/0", "::/0")
    if one.key == "gateway":
        return _ip(one.value)
    found = _ip(second) if is_default or _ADDRESS.fullmatch(one.key) else None
    return None if found is None or found.is_unspecified else found


def _ip(text: str) -> Address | None:
    with suppress(ValueError):
        return ip_address(text.strip())
    return None
