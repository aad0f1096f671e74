"""Which interface of a guest is which NIC of the instance, and what becomes of it. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from guest.addresses import NicConfig, plan_nics
from guest.instance import Nic
from importer.renumber.model import Address, Change, Interface, Seen
from node.errors import KitError


@dataclass(frozen=True)
class Card:
    """A network card as the guest's files know it: a name, a MAC address, or both."""

    name: str
    mac: str


@dataclass(frozen=True)
class Matched:
    """The changes, and what the user should know; one sentence each."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def cards(seen: Sequence[Seen], macs: Mapping[str, str]) -> tuple[Card, ...]:
    """The network cards that a guest's files name, in the natural order of their names.

    Args:
        seen: in all files.
        macs: MAC addresses by the names that udev gives them (.link files, rules).
    """
    known = dict(macs)
    known.update((one.name, one.mac) for one in seen if one.name and one.mac)
    over = {one.name for one in seen if one.kind == "over"}
    others = {one.name for one in seen if one.kind == "other"}
    names = {one.name for one in seen if one.kind == "nic" and one.name}
    names |= {name for one in seen for name in one.below}
    names -= over | others | {"lo"}
    named = [Card(name, known.get(name, "")) for name in sorted(names, key=_natural)]
    taken = {card.mac for card in named}
    bare = dict.fromkeys(one.mac for one in seen if not one.name and one.mac not in taken)
    return (*named, *(Card("", mac) for mac in bare))


def matched(
    nics: Sequence[Nic],
    seen: Sequence[Seen],
    macs: Mapping[str, str],
    old_macs: Mapping[int, str],
    chosen: Mapping[int, str],
) -> Matched:
    """Decides what becomes of each NIC of the instance.

    Args:
        nics: of the instance.
        seen: the interfaces in all files of the guest.
        macs: see `cards`.
        old_macs: the MAC addresses that NICs had before, as far as known.
        chosen: names of the guest's interfaces that the user has given for NICs.

    Raises:
        KitError: it is not certain which interface is which NIC, or Ganeti does not know what the
            guest needs.
    """
    pairs = _pairs(nics, cards(seen, macs), old_macs, chosen)
    changes, notes = [], []
    planned = {config.mac: config for config in plan_nics(nics, dhcp=False)}
    had6 = any(address.version == 6 for one in seen for address in one.gateways)
    for nic in nics:
        card = pairs.get(nic.index)
        if card is None:
            notes.append(f"NIC {nic.index} ({nic.mac}): the guest's files do not name it")
            continue
        change, said = _change(nic, card, seen, planned[nic.mac], had6=had6)
        changes.append(change)
        notes += said
    return Matched(tuple(changes), tuple(notes))


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key to sort names by: ens9 before ens10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)


def _pairs(
    nics: Sequence[Nic],
    found: Sequence[Card],
    old_macs: Mapping[int, str],
    chosen: Mapping[int, str],
) -> dict[int, Card]:
    """The card of each NIC: as the user says, by MAC address, else in order if their number fits.

    Raises:
        KitError: the rest of them does not fit.
    """
    pairs: dict[int, Card] = {}
    for nic in nics:
        own = {nic.mac, old_macs.get(nic.index, nic.mac)}
        if name := chosen.get(nic.index):
            pairs[nic.index] = next((c for c in found if c.name == name), Card(name, ""))
        elif by_mac := next((card for card in found if card.mac in own), None):
            pairs[nic.index] = by_mac
    taken = set(pairs.values())
    left = [nic for nic in nics if nic.index not in pairs]
    free = [card for card in found if card not in taken]
    if left and free and len(left) != len(free):
        names = ", ".join(card.name or card.mac for card in free)
        missing = ", ".join(str(nic.index) for nic in left)
        raise KitError(
            f"NIC {missing} of the instance: it is not certain which of the guest's interfaces"
            f" {names} belongs to it",
            hint=f"name it: --nic {left[0].index}={free[0].name or 'NAME'}",
        )
    pairs.update({nic.index: card for nic, card in zip(left, free, strict=False)})
    return pairs


def _change(
    nic: Nic, card: Card, seen: Sequence[Seen], planned: NicConfig, *, had6: bool
) -> tuple[Change, list[str]]:
    over = [one.name for one in seen if one.kind == "over" and card.name in one.below]
    mine = [one for one in seen if _is_of(one, card) and one.kind == "nic"]
    interface = card.name
    if over and not any(one.addresses or one.asks for one in mine):
        interface = over[0]
        mine = [one for one in seen if one.name == interface]
    (alone,) = plan_nics([nic], dhcp=False)
    what = f"NIC {nic.index} ({interface or card.mac})"
    old: list[Interface] = []
    new: list[Interface] = []
    gateways: list[Address] = []
    notes: list[str] = list(alone.notes)
    for version in (4, 6):
        wanted = alone.address4 if version == 4 else alone.address6
        had, routers, said = _had(mine, version, wanted, what)
        notes += said
        if had and wanted:
            wanted = _in_known_subnet(nic, had, wanted, what)
            if routers and not _has_route(alone, version) and wanted.network != had.network:
                raise KitError(
                    f"{what}: the guest has its default route through {routers[0]}, and Ganeti"
                    " knows no gateway of the new network",
                    hint="gnt-network modify --gateway or --gateway6",
                )
            old.append(had)
            new.append(wanted)
            gateways += routers
    asked6 = any("inet6" in one.closed for one in mine)
    adds6 = alone.address6 is not None and not any(a.version == 6 for a in old) and not asked6
    # A stanza of ifupdown that asks for advertisements gets the same address from them.
    adds6 = adds6 and any(a.version == 4 for a in old) and not _is_auto6(mine)
    by_command = all(one.is_command for one in mine if one.addresses)
    if adds6 and by_command:
        notes.append(f"{what}: {alone.address6} is not added, as commands add its addresses")
    adds6 = adds6 and not by_command
    if adds6 and alone.address6:
        new.append(alone.address6)
    routes6 = planned if adds6 and not had6 else None
    config = replace(
        alone,
        name=interface,
        addresses=tuple(new),
        gateway=alone.gateway if any(g.version == 4 for g in gateways) else None,
        device_route=alone.device_route and any(g.version == 4 for g in gateways),
        gateway6=_gateway6(alone, gateways, routes6),
        device_route6=alone.device_route6 and _wants6(gateways, routes6),
    )
    same = {old.version for old, fresh in _by_family(old, new) if old.network == fresh.network}
    config = _with_old_gateways(config, [g for g in gateways if g.version in same])
    change = Change(
        nic.index, card.name, card.mac, interface, tuple(old), tuple(gateways), config, adds6
    )
    return change, notes


def _is_of(one: Seen, card: Card) -> bool:
    return bool(one.name and one.name == card.name) or bool(one.mac and one.mac == card.mac)


def _is_auto6(mine: Iterable[Seen]) -> bool:
    return any("inet6" in one.asks and one.file.startswith("/etc/network/") for one in mine)


def _had(
    mine: Sequence[Seen], version: int, wanted: Interface | None, what: str
) -> tuple[Interface | None, list[Address], list[str]]:
    """The address of a family that is replaced, its gateways, and notes.

    It is the first one; but one that the instance has already is not replaced.
    """
    in_order = sorted(mine, key=lambda one: one.is_alias)
    found = [a for one in in_order for a in one.addresses if a.version == version]
    found = list(dict.fromkeys(a for a in found if not a.ip.is_link_local))
    gateways = [g for one in mine for g in one.gateways if g.version == version]
    family = "inet" if version == 4 else "inet6"
    notes = []
    if not found:
        if wanted and version == 4 and any(family in one.asks for one in mine):
            notes.append(
                f"{what}: the guest uses DHCP, which must give it {wanted.ip}; nothing is changed"
            )
        return None, [], notes
    if wanted is None:
        notes.append(f"{what}: Ganeti has no IPv{version} address for it: {found[0]} stays")
        return None, [], notes
    own = next((a for a in found if a.ip == wanted.ip), found[0])
    notes += [
        f"{what}: {other} stays, as Ganeti has no address in its place"
        for other in found
        if other != own
    ]
    return own, list(dict.fromkeys(gateways)), notes


def _in_known_subnet(nic: Nic, had: Interface, wanted: Interface, what: str) -> Interface:
    """The new address with the prefix length of the guest's network, if Ganeti knows none.

    Raises:
        KitError: the address is in another network.
    """
    subnet = nic.network.subnet if wanted.version == 4 else nic.network.subnet6
    if subnet is not None or nic.mode != "bridged" or wanted.ip.is_link_local:
        return wanted
    if wanted.ip in had.network:
        made = f"{wanted.ip}/{had.network.prefixlen}"
        return IPv4Interface(made) if wanted.version == 4 else IPv6Interface(made)
    raise KitError(
        f"{what}: Ganeti has {wanted.ip} for it, but no network: its prefix and gateway are not"
        " known",
        hint="gnt-instance modify --net N:modify,network=NETWORK,ip=ADDRESS",
    )


def _has_route(config: NicConfig, version: int) -> bool:
    if version == 4:
        return config.gateway is not None or config.device_route
    return config.gateway6 is not None or config.device_route6


def _wants6(gateways: Iterable[Address], planned: NicConfig | None) -> bool:
    return planned is not None or any(gateway.version == 6 for gateway in gateways)


def _gateway6(
    alone: NicConfig, gateways: Iterable[Address], planned: NicConfig | None
) -> IPv6Address | None:
    """The IPv6 gateway: where the guest had one; for its first IPv6 address, as planned."""
    if planned is not None:
        return planned.gateway6
    return alone.gateway6 if _wants6(gateways, None) else None


def _with_old_gateways(config: NicConfig, old: Sequence[Address]) -> NicConfig:
    """In a network that the guest was in before, its gateways stay where Ganeti knows none."""
    old4 = next((g for g in old if isinstance(g, IPv4Address)), None)
    old6 = next((g for g in old if isinstance(g, IPv6Address)), None)
    return replace(
        config,
        gateway=config.gateway or old4,
        gateway6=config.gateway6 or old6,
        device_route=config.device_route and old4 is None,
        device_route6=config.device_route6 and old6 is None,
    )


def _by_family(
    old: Iterable[Interface], new: Sequence[Interface]
) -> Iterable[tuple[Interface, Interface]]:
    return [(one, other) for one in old for other in new if one.version == other.version]
