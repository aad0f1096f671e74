"""The routes of a device in netplan's YAML (netplan(5)): read, changed and added. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

from importer.renumber.model import Address, Change, onlink
from importer.renumber.netplan_text import Line, split
from node.errors import KitError

_DEFAULTS = ("default", "0.0.0.0/0", "::/0", "0/0")
_TO = re.compile(r"\bto:\s*[\"']?([^\s\"',}]+)[\"']?")
_VIA = re.compile(r"\bvia:\s*[\"']?([^\s\"',}]+)[\"']?")
_ON_LINK = re.compile(r"\bon-link:\s*[\"']?\w+[\"']?")
_COMMA_ON_LINK = re.compile(rf",\s*{_ON_LINK.pattern}|{_ON_LINK.pattern}\s*,\s*")
_GATEWAY = re.compile(r"\bgateway[46]:\s*[\"']?([^\s\"',}]+)")
_IN_BRACES = re.compile(r"\{[^{}]*\}")
_ANY = {4: "0.0.0.0/0", 6: "::/0"}


class Default(NamedTuple):
    """A default route that is added; without a gateway, it goes to the link itself."""

    version: int
    gateway: Address | None
    is_onlink: bool = False

    @property
    def options(self) -> list[str]:
        """The options of the route in YAML."""
        if self.gateway is None:
            return [f'to: "{_ANY[self.version]}"', "scope: link"]
        via = [f'to: "{_ANY[self.version]}"', f'via: "{self.gateway}"']
        return [*via, "on-link: true"] if self.is_onlink else via


def gateways(own: Sequence[Line]) -> Iterator[Address]:
    """Those of `gateway4`, `gateway6`, and of the default routes among `routes`."""
    for line in own:
        if line.option in ("gateway4", "gateway6"):
            yield from _known(line.value.strip("\"'"))
        elif not line.option:  # all options in braces
            for text in _GATEWAY.findall(line.value):
                yield from _known(text)
            yield from _of_defaults(_IN_BRACES.findall(line.value))
    for item in _items(own):
        said = " , ".join(line.body for line in item)
        yield from _of_defaults(_IN_BRACES.findall(said) or [said])


def _of_defaults(found: Iterable[str]) -> Iterator[Address]:
    """The gateways of the default ones among routes."""
    for route in found:
        to, via = _TO.search(route), _VIA.search(route)
        if to and via and to[1] in _DEFAULTS:
            yield from _known(via[1])


def _known(text: str) -> Iterator[Address]:
    if address := _ip(text):
        yield address


def adapt(
    lines: list[str], own: Sequence[Line], change: Change
) -> tuple[list[Default], Line | None]:
    """Marks gateways outside of the subnet, and lets routes without one go to the link.

    `gateway4` can say neither, and becomes a route.

    Returns:
        The routes that are to be added, and the line in whose place.

    Raises:
        KitError: such a gateway is in braces, with all options of its device.
    """
    added: list[Default] = []
    place = None
    for line in own:
        now = line._replace(value=split(lines[line.place])[0])
        for address in gateways([now]) if not line.option else ():
            if change.loses(address) or onlink(change, address):
                raise KitError(
                    f"netplan's files in the guest: {'.'.join(line.keys)} has the gateway {address}"
                    " in braces, and needs a route instead",
                    hint="write it with one key on a line: instance-kit shell --write",
                )
        if line.option in ("gateway4", "gateway6"):
            via = _ip(split(lines[line.place])[0].partition(":")[2].strip("\"' \t\r\n"))
            if via is None:
                continue
            if change.loses(via):
                added.append(Default(via.version, None))
            elif onlink(change, via):
                added.append(Default(via.version, via, is_onlink=True))
            else:
                continue
            lines[line.place], place = "", line
    for item in _items(own):
        _adapt_item(lines, item, change)
    return added, place


def add(
    lines: list[str], own: Sequence[Line], added: Sequence[Default], place: Line | None
) -> None:
    """Adds default routes before those that the device has.

    Args:
        lines: of the file.
        own: those of the device.
        added: the routes.
        place: the line behind which they are put if there are none; None for before the first
            option of the device. A device whose options are in braces gets none.
    """
    has = [line for line in own if line.option == "routes" and len(line.keys) == 4]
    items = [line for line in has if line.is_item]
    if not added or (not has and all(not line.option for line in own)):
        return
    if items:
        space = " " * items[0].indent
        lines[items[0].place] = _block(space, added) + lines[items[0].place]
    elif has:
        code = lines[has[0].place]
        flow = ", ".join(f"{{{', '.join(one.options)}}}" for one in added)
        end = code.find("[") + 1
        comma = "" if code[end:].lstrip().startswith("]") else ", "
        lines[has[0].place] = f"{code[:end]}{flow}{comma}{code[end:]}" if end else code
    else:
        first = place or next(line for line in own if line.option)
        space = " " * first.indent
        block = f"{space}routes:\n{_block(f'{space}  ', added)}"
        here = lines[first.place]
        lines[first.place] = here + block if place else block + here


def _block(space: str, added: Sequence[Default]) -> str:
    return "".join(
        f"{space}{'  ' if number else '- '}{option}\n"
        for one in added
        for number, option in enumerate(one.options)
    )


def _adapt_item(lines: list[str], item: Sequence[Line], change: Change) -> None:
    """Marks the gateway of a route, or takes it away; several routes may be in braces."""
    codes = [split(lines[line.place]) for line in item]
    if any("{" in code for code, _ in codes):
        for line, (code, comment) in zip(item, codes, strict=True):
            lines[line.place] = _IN_BRACES.sub(lambda m: _in_braces(m[0], change), code) + comment
        return
    said = " , ".join(code for code, _ in codes)
    to, via = _TO.search(said), _VIA.search(said)
    address = _ip(via[1]) if via else None
    if to is None or address is None:
        return
    # The kernel takes no `on-link` without a gateway: the first of both lines is kept.
    is_first = True
    for line, (code, comment) in zip(item, codes, strict=True):
        if change.loses(address) and to[1] in _DEFAULTS:
            fresh = _to_link(code, address)
            if _VIA.search(code) or _ON_LINK.search(code):
                fresh, is_first = fresh if is_first else "", False
            lines[line.place] = fresh + comment if fresh else ""
        elif onlink(change, address) and "on-link:" not in said and _VIA.search(code):
            inner = " " * line.indent + ("  " if line.is_item else "")
            lines[line.place] = f"{(code + comment).rstrip()}\n{inner}on-link: true\n"


def _in_braces(route: str, change: Change) -> str:
    """A route in braces, adapted."""
    to, via = _TO.search(route), _VIA.search(route)
    address = _ip(via[1]) if via else None
    if to is None or address is None:
        return route
    if change.loses(address) and to[1] in _DEFAULTS:
        return _to_link(_COMMA_ON_LINK.sub("", route), address)
    marks = onlink(change, address) and "on-link:" not in route
    return f"{route[:-1].rstrip()}, on-link: true}}" if marks else route


def _to_link(code: str, gateway: Address) -> str:
    """A part of a route that has no gateway any more; `default` alone has no version."""
    code = _TO.sub(f'to: "{_ANY[gateway.version]}"', code)
    return _ON_LINK.sub("scope: link", _VIA.sub("scope: link", code))


def _items(own: Sequence[Line]) -> list[list[Line]]:
    """The lines of each item of `routes`."""
    found: list[list[Line]] = []
    for line in own:
        if line.option != "routes":
            continue
        if len(line.keys) == 4:
            found.append([line])
        elif found:
            found[-1].append(line)
    return found


def _ip(text: str) -> Address | None:
    with suppress(ValueError):
        return ip_address(text)
    return None
