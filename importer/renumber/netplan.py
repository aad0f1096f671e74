"""Edits netplan's YAML line by line, so that comments stay (netplan(5)). Pure.

It is read in the form in which people and installers write it: one key on a line, lists in brackets
or as items; what a device has may be in braces, on one line. See `is_understood`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_interface
from typing import NamedTuple

from importer.renumber import tokens
from importer.renumber.model import Address, Change, Family, Interface, Seen, change_of, onlink

_KINDS = {"ethernets": "nic", "bridges": "over", "bonds": "over"}
_TRUE = ("true", "yes", "on")
_FAMILIES: dict[str, Family] = {"dhcp4": "inet", "dhcp6": "inet6"}
_DEFAULTS = ("default", "0.0.0.0/0", "::/0", "0/0")
_IN_BRACES = re.compile(rf"\b({'|'.join(_KINDS)})[\"']?\s*:\s*\{{\s*[^\s}}]")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_CIDR = re.compile(r"(?<![0-9A-Fa-f.:])[0-9A-Fa-f.:]+/\d+")


class _Line(NamedTuple):
    """A line: its index, its indentation, the keys that lead to it, and what follows the last."""

    place: int
    indent: int
    keys: tuple[str, ...]
    value: str
    is_item: bool

    @property
    def device(self) -> tuple[str, str] | None:
        """The kind (ethernets) and the name of the device that the line belongs to."""
        if len(self.keys) < 3 or self.keys[0] != "network":
            return None
        return self.keys[1], self.keys[2]

    @property
    def option(self) -> str:
        """The option of the device that the line belongs to; "" for the device itself."""
        return self.keys[3] if len(self.keys) > 3 else ""


def is_understood(text: str) -> bool:
    """Whether no devices are in braces that hold several, or that end in another line."""
    code = [_QUOTED.sub(_without_braces, _split(line)[0]) for line in text.splitlines()]
    return not any(
        code[line.place].count("{") > code[line.place].count("}")
        or (line.device is None and _IN_BRACES.search(code[line.place]))
        for line in _lines(text)
    )


def _without_braces(match: re.Match[str]) -> str:
    return re.sub(r"[{}]", "", match[0])


def seen(file: str, text: str) -> list[Seen]:
    """The devices that a file configures."""
    found: dict[tuple[str, str], list[_Line]] = {}
    for line in _lines(text):
        if line.device:
            found.setdefault(line.device, []).append(line)
    return [_seen(file, *device, lines) for device, lines in found.items()]


def edited(text: str, changes: Sequence[Change]) -> str:
    """Replaces addresses, gateways and MAC addresses; adds an IPv6 address."""
    given = text.splitlines(keepends=True)
    lines = list(given)
    devices: dict[tuple[str, str], list[_Line]] = {}
    for line in _lines(text):
        if line.device:
            devices.setdefault(line.device, []).append(line)
    for (kind, name), own in devices.items():
        card_name, mac = _match(name, own)
        change = change_of(changes, card_name, mac) if kind in _KINDS else None
        card = next((one for one in changes if one.card == card_name), change)
        for line in own:
            code, comment = _split(lines[line.place])
            if change and line.option != "nameservers":
                code = tokens.replaced(code, change)
            if card and (line.option in ("macaddress", "match") or "macaddress:" in line.value):
                code = tokens.with_mac(code, "", card.config.mac)
            lines[line.place] = code + comment
        if change:
            _state_onlink(lines, own, change)
            asking = [one for one in own if one.option == "dhcp4" and one.value.lower() in _TRUE]
            if change.adds4 and asking:
                _fix(lines, own, asking[0], change)
            elif change.adds6 and any(_holds(one, old) for one in own for old in change.old):
                _add6(lines, own, change)
    return "".join(lines)


def sets_name(text: str, card: str) -> bool:
    """Whether a file gives a NIC its name by its MAC address (set-name)."""
    return any(
        line.option == "set-name" and line.value.strip("\"'") == card for line in _lines(text)
    )


def _lines(text: str) -> Iterator[_Line]:
    path: list[tuple[int, str]] = []
    opened = 0  # brackets of a list that goes on in the next line
    for place, line in enumerate(text.splitlines()):
        code = _split(line)[0].rstrip()
        if not code.strip():
            continue
        indent = len(code) - len(code.lstrip())
        body = code.strip()
        goes_on, opened = opened > 0, max(0, opened + code.count("[") - code.count("]"))
        if goes_on:  # a colon is one of an address
            yield _Line(place, indent, tuple(key for _, key in path), body, False)
            continue
        is_item = body.startswith("- ") or body == "-"
        # The items of a list may have the same indentation as its key.
        while path and (path[-1][0] > indent or (path[-1][0] == indent and not is_item)):
            path.pop()
        if is_item:
            yield _Line(place, indent, tuple(key for _, key in path), body[1:].strip(), True)
            continue
        key, colon, value = body.partition(":")
        if colon:
            path.append((indent, key.strip("\"' ")))
            value = value.strip()
        else:
            value = body
        yield _Line(place, indent, tuple(key for _, key in path), value, False)


def _split(line: str) -> tuple[str, str]:
    """The code of a line, and its comment with the space before it."""
    match = re.search(r"(^|(?<!\s)\s+)#.*", line, re.DOTALL)
    return (line[: match.start()], line[match.start() :]) if match else (line, "")


def _seen(file: str, kind: str, name: str, lines: Sequence[_Line]) -> Seen:
    card, mac = _match(name, lines)
    role = _KINDS.get(kind, "other")
    ports = [
        word
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
        gateways=tuple(_gateways(lines)),
        asks=frozenset(asks),
        closed=frozenset({"inet6"} if _closes_ipv6(lines) else ()),
        below=tuple(ports) if role == "over" else (),
        kind=role,  # type: ignore[arg-type]
    )


def _match(name: str, lines: Sequence[_Line]) -> tuple[str, str]:
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


def _addresses(line: _Line) -> list[Interface]:
    if line.option != "addresses" and not (line.option == "" and "addresses:" in line.value):
        return []
    found = []
    for word in _CIDR.findall(line.value):
        with suppress(ValueError):
            found.append(ip_interface(word))
    return found


def _gateways(lines: Sequence[_Line]) -> Iterator[Address]:
    """Those of `gateway4`, `gateway6`, and of the default routes among `routes`."""
    is_default = False
    for line in lines:
        text = ""
        if line.option in ("gateway4", "gateway6"):
            text = line.value
        elif not line.option:  # all options in braces
            text = " ".join(re.findall(r"\bgateway[46]:\s*[\"']?([^\s\"',}]+)", line.value)[:1])
        elif line.option == "routes":
            body = f"{line.keys[-1]}: {line.value}" if len(line.keys) > 4 else line.value
            if to := re.search(r"\bto:\s*[\"']?([^\s\"',}]+)", body):
                is_default = to[1] in _DEFAULTS
            if is_default and (via := re.search(r"\bvia:\s*[\"']?([^\s\"',}]+)", body)):
                text = via[1]
        with suppress(ValueError):
            yield ip_address(text.strip("\"'"))


def _closes_ipv6(lines: Sequence[_Line]) -> bool:
    return any(
        line.option == "link-local" and "ipv6" not in line.value and not line.is_item
        for line in lines
        if line.value or line.option != "link-local"
    )


def _holds(line: _Line, old: Interface) -> bool:
    return old in _addresses(line)


def _state_onlink(lines: list[str], own: Sequence[_Line], change: Change) -> None:
    """Marks gateways outside of the subnet; `gateway4` cannot say it, and becomes a route."""
    if any(line.keys[-1] == "on-link" or "on-link:" in line.value for line in own):
        return
    for line in own:
        code = _split(lines[line.place])[0].rstrip()
        space = " " * line.indent
        for gateway in (change.config.gateway, change.config.gateway6):
            if gateway is None or not onlink(change, gateway):
                continue
            if line.option in ("gateway4", "gateway6") and code.endswith(str(gateway)):
                any_ = "0.0.0.0/0" if gateway.version == 4 else "::/0"
                lines[line.place] = (
                    f'{space}routes:\n{space}  - to: "{any_}"\n'
                    f'{space}    via: "{gateway}"\n{space}    on-link: true\n'
                )
            elif line.option == "routes" and re.search(rf"via:.*{re.escape(str(gateway))}", code):
                lines[line.place] = _marked(lines[line.place], line)


def _marked(text: str, line: _Line) -> str:
    """The line of a route, which is on-link now; it may be in braces."""
    if "}" in text:
        return text.replace("}", ", on-link: true}", 1)
    inner = " " * line.indent + ("  " if line.is_item else "")
    return f"{text.rstrip()}\n{inner}on-link: true\n"


def _fix(lines: list[str], own: Sequence[_Line], asking: _Line, change: Change) -> None:
    """Puts addresses, routes and name servers in place of DHCP.

    A device that has some of these options already keeps them: it has static addresses of IPv6.
    """
    config, resolver = change.config, change.resolver
    space = " " * asking.indent
    has = {line.option for line in own}
    made = [f"{space}dhcp4: false"]
    quoted = ", ".join(f'"{address}"' for address in config.addresses)
    if "addresses" not in has:
        made.append(f"{space}addresses: [{quoted}]")
    routes = [
        line
        for any_, via, on_link in (
            ("0.0.0.0/0", config.gateway, config.gateway_onlink),
            ("::/0", config.gateway6, config.gateway6_onlink),
        )
        if via is not None
        for line in (
            f'{space}  - to: "{any_}"',
            f'{space}    via: "{via}"',
            *([f"{space}    on-link: true"] if on_link else []),
        )
    ]
    if routes and "routes" not in has:
        made += [f"{space}routes:", *routes]
    if resolver and resolver.nameservers and "nameservers" not in has:
        servers = ", ".join(f'"{server}"' for server in resolver.nameservers)
        made += [f"{space}nameservers:", f"{space}  addresses: [{servers}]"]
        if resolver.search:
            made.append(f"{space}  search: [{', '.join(resolver.search)}]")
    lines[asking.place] = "".join(f"{line}\n" for line in made)
    if "addresses" in has:
        _insert(lines, own, config.address4)


def _insert(lines: list[str], own: Sequence[_Line], address: Interface | None) -> None:
    """Adds an address behind the first one."""
    for line in own:
        if not _addresses(line) or address is None:
            continue
        code, comment = _split(lines[line.place])
        if not code.lstrip().startswith("-") and (first := _CIDR.search(code)):
            end = first.end() + (code[first.end() : first.end() + 1] in ("'", '"'))
            lines[line.place] = f'{code[:end]}, "{address}"{code[end:]}{comment}'
        else:
            item = f'{" " * line.indent}- "{address}"\n'
            lines[line.place] = lines[line.place].rstrip("\n") + "\n" + item
        return


def _add6(lines: list[str], own: Sequence[_Line], change: Change) -> None:
    config = change.config
    holding = [line for line in own if any(_holds(line, old) for old in change.old)]
    _insert(lines, holding, config.address6)
    if config.gateway6 is None:
        return
    for line in own:
        space = " " * line.indent
        if line.option == "gateway4" and not config.gateway6_onlink:
            lines[line.place] += f'{space}gateway6: "{config.gateway6}"\n'
            return
        if line.option == "routes" and line.is_item:
            mark = f"\n{space}  on-link: true" if config.gateway6_onlink else ""
            item = f'{space}- to: "::/0"\n{space}  via: "{config.gateway6}"{mark}\n'
            lines[line.place] = item + lines[line.place]
            return
