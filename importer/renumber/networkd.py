"""Edits files of systemd-networkd (systemd.network(5)) and udev's .link files. Pure."""

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_interface

from guest import networkd
from importer.renumber import tokens
from importer.renumber.inifile import Setting, after, settings
from importer.renumber.model import Address, Change, Interface, Seen, change_of, onlink

_MACS = ("MACAddress", "PermanentMACAddress")
_DEFAULTS = ("", "0.0.0.0/0", "::/0")
_YES = ("yes", "true", "1", "on")
_OVER = ("Bridge", "Bond")  # of [Network]: the interface is a port of one


def seen(file: str, text: str, parent: str = "") -> list[Seen]:
    """The interface that a .network file configures, and the bridge or bond that it joins.

    Args:
        file: its path.
        text: its content.
        parent: the text of the file that this one is a drop-in of; it has the section Match.
    """
    found = list(settings(text.splitlines()))
    name, mac = _match(parent or text)
    if not name and not mac:
        return []
    network = [one for one in found if one.section == "Network"]
    dhcp = next((one.value.lower() for one in network if one.key == "DHCP"), "no")
    asks = {"inet"} if dhcp in (*_YES, "ipv4") else set()
    asks |= {"inet6"} if dhcp in (*_YES, "ipv6") else set()
    here = Seen(
        file,
        name,
        mac,
        addresses=tuple(a for one in found if (a := _address(one))),
        gateways=tuple(g for one in found if (g := _gateway(one)) and _is_default(one, found)),
        asks=frozenset(asks),  # type: ignore[arg-type]
        closed=frozenset({"inet6"} if _closes_ipv6(network) else ()),
        kind="other" if _is_other(name) else "nic",
    )
    joined = [one.value for one in network if one.key in _OVER]
    return [here, *(Seen(file, over, below=(name,), kind="over") for over in joined if name)]


def edited(text: str, changes: Sequence[Change], parent: str = "") -> str:
    """Replaces addresses, gateways and MAC addresses; adds an IPv6 address."""
    change = change_of(changes, *_match(parent or text)) or _by_card(changes, parent or text)
    if change is None:
        return text
    lines = text.splitlines(keepends=True)
    found = list(settings(lines))
    if change.interface == change.card or not change.card:
        for one in found:
            if one.key not in ("DNS", "NTP", "Domains"):
                lines[one.place] = tokens.replaced(lines[one.place], change)
    for one in found:
        if one.key in _MACS and one.section in ("Match", "Link"):
            old = "" if " " not in one.value else change.old_mac
            lines[one.place] = tokens.with_mac(lines[one.place], old, change.config.mac)
    added = _adapt_gateways(lines, change)
    pair = next(iter(change.pairs), None)
    home = next((one for one in found if pair and _address(one) == pair[0]), None)
    if home and change.adds6:
        added += _added6(lines, home, change)
    asking = [one for one in found if (one.section, one.key) == ("Network", "DHCP")]
    if change.adds4 and asking:
        added += _static(lines, asking[0], change)
    ending = "" if not lines or lines[-1].endswith("\n") else "\n"
    return "".join(lines) + (ending + "\n" + "\n".join(added) + "\n" if added else "")


def relinked(text: str, change: Change) -> str:
    """The text of a .link file that gives the NIC its name, with the new MAC address.

    A file that matches no MAC address, or several, stays as it is.
    """
    lines = text.splitlines(keepends=True)
    found = list(settings(lines))
    named = any(o.section == "Link" and o.key == "Name" and o.value == change.card for o in found)
    macs = [one for one in found if one.section == "Match" and one.key in _MACS]
    if not named or len(macs) != 1 or " " in macs[0].value:
        return text
    lines[macs[0].place] = tokens.with_mac(lines[macs[0].place], "", change.config.mac)
    return "".join(lines)


def linked(text: str) -> tuple[str, str] | None:
    """The name and the MAC address of a .link file; None if it does not match by one."""
    name, mac = "", ""
    for one in settings(text.splitlines()):
        if (one.section, one.key) == ("Link", "Name"):
            name = one.value
        elif one.section == "Match" and one.key in _MACS:
            mac = one.value.lower().replace("-", ":")
    return (name, mac) if name and mac and " " not in mac else None


def _by_card(changes: Sequence[Change], text: str) -> Change | None:
    """The change of a NIC below a bridge: its own file may match its MAC address."""
    name, _ = _match(text)
    return next((change for change in changes if name and change.card == name), None)


def _match(text: str) -> tuple[str, str]:
    name = mac = ""
    for one in settings(text.splitlines()):
        if one.section == "Match" and one.key == "Name":
            name = one.value
        elif one.section == "Match" and one.key in _MACS:
            mac = one.value.lower().replace("-", ":")
    return name, mac if " " not in mac else ""


def _is_other(name: str) -> bool:
    return name == "lo" or "." in name or name.startswith(("vlan", "wg", "tun", "tap", "veth"))


def _address(one: Setting) -> Interface | None:
    if one.key == "Address" and one.section in ("Network", "Address"):
        with suppress(ValueError):
            return ip_interface(one.value)
    return None


def _gateway(one: Setting) -> Address | None:
    if one.key == "Gateway" and one.section in ("Network", "Route"):
        with suppress(ValueError):
            return ip_address(one.value)
    return None


def _is_default(gateway: Setting, found: Sequence[Setting]) -> bool:
    """Whether a gateway is one of the default route: its section names no other destination."""
    same = [one for one in found if one.number == gateway.number and one.key == "Destination"]
    return gateway.section == "Network" or all(one.value in _DEFAULTS for one in same)


def _closes_ipv6(network: Sequence[Setting]) -> bool:
    local = [one.value.lower() for one in network if one.key == "LinkLocalAddressing"]
    return any(value in ("no", "false", "0", "off", "ipv4") for value in local)


def _adapt_gateways(lines: list[str], change: Change) -> list[str]:
    """Marks gateways outside of the subnet, and lets routes without one go to the link.

    Returns:
        The sections of routes that [Network] cannot say.
    """
    added = []
    found = list(settings([line.partition("\n")[0] for line in lines]))
    for one in found:
        gateway = _gateway(one)
        if gateway is None:
            continue
        same = [other for other in found if other.number == one.number]
        marks = [other for other in same if other.key == "GatewayOnLink"]
        if change.loses(gateway) and _is_default(one, found):
            is4 = gateway.version == 4
            to = ["Destination=0.0.0.0/0", "Scope=link"] if is4 else ["Destination=::/0"]
            if one.section == "Network":
                lines[one.place] = ""
                added += ["[Route]", *to]
                continue
            for other in marks:
                lines[other.place] = ""
            if any(other.key == "Destination" for other in same):
                to = to[1:]
            lines[one.place] = "".join(f"{line}\n" for line in to)
        elif marks or not onlink(change, gateway):
            continue
        elif one.section == "Route":
            after(lines, one.place, ["GatewayOnLink=yes"])
        else:
            lines[one.place] = ""
            added += ["[Route]", f"Gateway={gateway}", "GatewayOnLink=yes"]
    return added


def _static(lines: list[str], asking: Setting, change: Change) -> list[str]:
    """Puts addresses and name servers in place of DHCP; returns the sections of the routes."""
    resolver = change.resolver
    own = [f"Address={address}" for address in change.config.addresses]
    own += [f"DNS={server}" for server in (resolver.nameservers if resolver else ())]
    own += [f"Domains={' '.join(resolver.search)}"] if resolver and resolver.search else []
    lines[asking.place] = "".join(f"{line}\n" for line in own)
    return networkd.routes(change.config)


def _added6(lines: list[str], home: Setting, change: Change) -> list[str]:
    """Adds the IPv6 address behind the other one; returns the section of its route."""
    config = change.config
    own = [f"Address={config.address6}"]
    in_network = home.section == "Network"
    added = [] if in_network else ["[Address]", *own]
    if in_network:
        after(lines, home.place, own)
    if config.gateway6 is not None:
        on_link = ["GatewayOnLink=yes"] if config.gateway6_onlink else []
        added += ["[Route]", f"Gateway={config.gateway6}", *on_link]
    elif config.device_route6:
        added += ["[Route]", "Destination=::/0"]
    return added
