"""Edits netplan's YAML line by line, so that comments stay (netplan(5)). Pure.

It is read in the form in which people and installers write it: one key on a line, lists in brackets
or as items; what a device has may be in braces, on one line. See `is_understood`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_interface
from types import MappingProxyType

from importer.renumber import netplan_routes, tokens
from importer.renumber.model import Change, Family, Interface, Seen, change_of
from importer.renumber.netplan_routes import Default
from importer.renumber.netplan_text import Line, devices, parsed, split

_KINDS = {"ethernets": "nic", "bridges": "over", "bonds": "over"}
_TRUE = ("true", "yes", "on")
_FAMILIES: dict[str, Family] = {"dhcp4": "inet", "dhcp6": "inet6"}
_IN_BRACES = re.compile(rf"\b({'|'.join(_KINDS)})[\"']?\s*:\s*\{{\s*[^\s}}]")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_CIDR = re.compile(r"(?<![0-9A-Fa-f.:])[0-9A-Fa-f.:]+/\d+")


# Name and MAC address of devices, by their kinds and keys.
Names = Mapping[tuple[str, str], tuple[str, str]]
_NONE: Names = MappingProxyType({})


def is_understood(text: str) -> bool:
    """Whether no devices are in braces that hold several, or that end in another line."""
    code = [_QUOTED.sub(_without_braces, split(line)[0]) for line in text.splitlines()]
    return not any(
        code[line.place].count("{") > code[line.place].count("}")
        or (line.device is None and _IN_BRACES.search(code[line.place]))
        for line in parsed(text)
    )


def _without_braces(match: re.Match[str]) -> str:
    return re.sub(r"[{}]", "", match[0])


def known(texts: Iterable[str]) -> Names:
    """The name and MAC address of each device of all files: netplan merges what they say of it."""
    found: dict[tuple[str, str], list[Line]] = {}
    for text in texts:
        for device, lines in devices(text).items():
            found.setdefault(device, []).extend(lines)
    return {device: _match(device[1], lines) for device, lines in found.items()}


def seen(file: str, text: str, names: Names = _NONE) -> list[Seen]:
    """The devices that a file configures.

    Args:
        file: its path.
        text: its content.
        names: of `known` of all files.
    """
    return [_seen(file, device, lines, names) for device, lines in devices(text).items()]


def edited(text: str, changes: Sequence[Change], names: Names = _NONE) -> str:
    """Replaces addresses, gateways and MAC addresses; adds an IPv6 address.

    Args:
        text: of a file.
        changes: of all NICs.
        names: of `known` of all files.
    """
    lines = text.splitlines(keepends=True)
    for (kind, name), own in devices(text).items():
        card_name, mac = names.get((kind, name)) or _match(name, own)
        change = change_of(changes, card_name, mac) if kind in _KINDS else None
        card = next((one for one in changes if one.card == card_name), change)
        for line in own:
            code, comment = split(lines[line.place])
            if change and line.option != "nameservers":
                code = tokens.replaced(code, change)
            if card and (line.option in ("macaddress", "match") or "macaddress:" in line.value):
                code = tokens.with_mac(code, "", card.config.mac)
            lines[line.place] = code + comment
        if change:
            added, place = netplan_routes.adapt(lines, own, change)
            asking = [one for one in own if one.option == "dhcp4" and one.value.lower() in _TRUE]
            if change.adds4 and asking:
                added, place = _fix(lines, own, asking[0], change), asking[0]
            elif change.adds6 and any(_holds(one, old) for one in own for old in change.old):
                added += _add6(lines, own, change)
            netplan_routes.add(lines, own, added, place)
    return "".join(lines)


def sets_name(text: str, card: str) -> bool:
    """Whether a file gives a NIC its name by its MAC address (set-name)."""
    return any(
        line.option == "set-name" and line.value.strip("\"'") == card for line in parsed(text)
    )


def _seen(file: str, device: tuple[str, str], lines: Sequence[Line], names: Names) -> Seen:
    kind, name = device
    card, mac = names.get(device) or _match(name, lines)
    role = _KINDS.get(kind, "other")
    ports = [
        names.get(("ethernets", word), ("",))[0] or word
        for line in lines
        if line.option == "interfaces"
        for word in re.findall(r"[\w.-]+", line.value)
    ]
    asks = {
        _FAMILIES[line.option]
        for line in lines
        if line.option in _FAMILIES and line.value.lower() in _TRUE
    }
    return Seen(
        file,
        card,
        mac,
        addresses=tuple(a for line in lines for a in _addresses(line)),
        gateways=tuple(netplan_routes.gateways(lines)),
        asks=frozenset(asks),
        closed=frozenset({"inet6"} if _closes_ipv6(lines) else ()),
        below=tuple(ports) if role == "over" else (),
        kind=role,  # type: ignore[arg-type]
    )


def _match(name: str, lines: Sequence[Line]) -> tuple[str, str]:
    """The name and MAC address of a device; with `match`, its key is only a name in the file."""
    match = [line for line in lines if line.option == "match" or line.value.startswith("{match")]
    named = [line.value.strip("\"'") for line in lines if line.option == "set-name"]
    if not match:
        return name, ""
    whole = " ".join(f"{line.keys[-1]}: {line.value}" for line in match)
    mac = re.search(r"macaddress:\s*[\"']?([0-9A-Fa-f:]{17})", whole)
    pattern = re.search(r"\bname:\s*[\"']?([^\s\"',}]+)", whole)
    found = named[0] if named else pattern[1] if pattern else ""
    return found, mac[1].lower() if mac else ""


def _addresses(line: Line) -> list[Interface]:
    if line.option != "addresses" and not (line.option == "" and "addresses:" in line.value):
        return []
    found = []
    for word in _CIDR.findall(line.value):
        with suppress(ValueError):
            found.append(ip_interface(word))
    return found


def _closes_ipv6(lines: Sequence[Line]) -> bool:
    return any(
        line.option == "link-local" and "ipv6" not in line.value and not line.is_item
        for line in lines
        if line.value or line.option != "link-local"
    )


def _holds(line: Line, old: Interface) -> bool:
    return old in _addresses(line)


def _fix(lines: list[str], own: Sequence[Line], asking: Line, change: Change) -> list[Default]:
    """Puts addresses and name servers in place of DHCP; returns the routes that are to be added.

    A device that has some of these options already keeps them: it has static addresses of IPv6.
    """
    config, resolver = change.config, change.resolver
    space = " " * asking.indent
    has = {line.option for line in own}
    made = [f"{space}dhcp4: false"]
    quoted = ", ".join(f'"{address}"' for address in config.addresses)
    if "addresses" not in has:
        made.append(f"{space}addresses: [{quoted}]")
    default4 = Default(4, config.gateway, config.gateway_onlink)
    default6 = Default(6, config.gateway6, config.gateway6_onlink)
    added = [default4] if config.gateway or config.device_route else []
    added += [default6] if config.gateway6 or config.device_route6 else []
    if resolver and resolver.nameservers and "nameservers" not in has:
        servers = ", ".join(f'"{server}"' for server in resolver.nameservers)
        made += [f"{space}nameservers:", f"{space}  addresses: [{servers}]"]
        if resolver.search:
            made.append(f"{space}  search: [{', '.join(resolver.search)}]")
    lines[asking.place] = "".join(f"{line}\n" for line in made)
    if "addresses" in has:
        _insert(lines, own, config.address4)
    return added


def _insert(lines: list[str], own: Sequence[Line], address: Interface | None) -> None:
    """Adds an address behind the first one."""
    for line in own:
        if not _addresses(line) or address is None:
            continue
        code, comment = split(lines[line.place])
        if not code.lstrip().startswith("-") and (first := _CIDR.search(code)):
            end = first.end() + (code[first.end() : first.end() + 1] in ("'", '"'))
            lines[line.place] = f'{code[:end]}, "{address}"{code[end:]}{comment}'
        else:
            item = f'{" " * line.indent}- "{address}"\n'
            lines[line.place] = lines[line.place].rstrip("\n") + "\n" + item
        return


def _add6(lines: list[str], own: Sequence[Line], change: Change) -> list[Default]:
    """Adds the IPv6 address; returns the route that is to be added, if it is not there."""
    config = change.config
    holding = [line for line in own if any(_holds(line, old) for old in change.old)]
    _insert(lines, holding, config.address6)
    for line in own:
        is_here = line.option == "gateway4" and lines[line.place]  # else it has become a route
        if is_here and config.gateway6 and not config.gateway6_onlink:
            lines[line.place] += f'{" " * line.indent}gateway6: "{config.gateway6}"\n'
            return []
    if config.gateway6 or config.device_route6:
        return [Default(6, config.gateway6, config.gateway6_onlink)]
    return []
