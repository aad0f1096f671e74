"""What becomes of one NIC of a guest. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from guest.addresses import NicConfig, plan_nics
from guest.instance import Nic
from guest.resolv import Resolver
from importer.renumber.model import Address, Card, Change, Family, Interface, Seen
from node.errors import KitError

_FAMILIES: dict[int, Family] = {4: "inet", 6: "inet6"}


@dataclass(frozen=True)
class _Fate:
    """What becomes of one IP version of an interface.

    Attributes:
        old, new: the address that is replaced, and the new one; None if nothing is.
        gateways: that are replaced.
        notes: one sentence each.
    """

    old: Interface | None = None
    new: Interface | None = None
    gateways: tuple[Address, ...] = ()
    notes: tuple[str, ...] = ()


def decided(
    nic: Nic,
    card: Card,
    seen: Sequence[Seen],
    planned: NicConfig,
    routed: frozenset[int],
    static: Resolver | None,
) -> tuple[Change, list[str]]:
    """The change of a NIC, and notes.

    Args:
        nic: of the instance.
        card: what the guest's files call it.
        seen: the interfaces in all files of the guest.
        planned: the NIC among all others: only one has the default route.
        routed: the IP versions for which the guest has a default route.
        static: whether an interface that uses DHCP gets its address from its file instead: the
            name servers that it gets then. None to leave it to DHCP.

    Raises:
        KitError: Ganeti does not know what the guest needs.
    """
    interface, mine = carrier(card, seen)
    what = f"NIC {nic.index} ({interface or card.mac})"
    (alone,) = plan_nics([nic], dhcp=False)
    four = _fate(nic, mine, alone, 4, what)
    six = _fate(nic, mine, alone, 6, what)
    notes = [*alone.notes, *four.notes, *six.notes]
    by_command = any(one.addresses for one in mine) and all(
        one.is_command for one in mine if one.addresses
    )
    asks4 = alone.address4 is not None and any("inet" in one.asks for one in mine)
    adds4 = asks4 and not four.new and static is not None
    if asks4 and not four.new and not adds4:
        notes.append(
            f"{what}: it uses DHCP, which must give it {alone.address4 and alone.address4.ip};"
            " --static writes that into its file"
        )
    if mine and alone.address4 is not None and not (four.new or asks4):
        notes.append(f"{what}: {alone.address4.ip} gets into no file, as none has IPv4 for it")
    adds6 = alone.address6 is not None and six.old is None and bool(four.new or adds4)
    adds6 = adds6 and not _needs_no_ipv6(mine)
    if adds6 and by_command:
        notes.append(f"{what}: {alone.address6} is not added, as commands add its addresses")
        adds6 = False
    via = next((g for one in mine for g in one.gateways if g.version == 6), None)
    if adds6 and via is not None:
        notes.append(
            f"{what}: {alone.address6} is not added: its files have a route to {via} already"
        )
        adds6 = False
    added = [a for a, adds in ((alone.address4, adds4), (alone.address6, adds6)) if adds and a]
    new = sorted([*(a for a in (four.new, six.new) if a), *added], key=lambda each: each.version)
    gateways = (*four.gateways, *six.gateways)
    # Where an address is new, the plan decides; unless the guest has a route elsewhere.
    first = {each.version for each in added} - routed
    ours = {each.version for each in gateways}
    chosen4 = planned if 4 in first else alone if 4 in ours else None
    chosen6 = planned if 6 in first else alone if 6 in ours else None
    config = replace(
        alone,
        name=interface,
        addresses=tuple(new),
        gateway=chosen4.gateway if chosen4 else None,
        device_route=bool(chosen4 and chosen4.device_route),
        gateway_onlink=bool(chosen4 and chosen4.gateway_onlink),
        gateway6=chosen6.gateway6 if chosen6 else None,
        device_route6=bool(chosen6 and chosen6.device_route6),
        gateway6_onlink=bool(chosen6 and chosen6.gateway6_onlink),
    )
    same = {
        fate.old.version
        for fate in (four, six)
        if fate.old and fate.new and fate.old.network == fate.new.network
    }
    config = _with_old_gateways(config, [each for each in gateways if each.version in same])
    old = tuple(each for each in (four.old, six.old) if each)
    return Change(
        index=nic.index,
        card=card.name,
        old_mac=card.mac,
        interface=interface,
        old=old,
        old_gateways=gateways,
        config=config,
        adds4=adds4,
        adds6=adds6,
        resolver=static if adds4 else None,
    ), notes


def carrier(card: Card, seen: Sequence[Seen]) -> tuple[str, list[Seen]]:
    """The interface with the addresses of a card, and what files say of it."""
    over = [one.name for one in seen if one.kind == "over" and card.name in one.below]
    mine = [one for one in seen if _is_of(one, card) and one.kind == "nic"]
    if over and not any(one.addresses or one.asks for one in mine):
        return over[0], [one for one in seen if one.name == over[0]]
    return card.name, mine


def _is_of(one: Seen, card: Card) -> bool:
    return bool(one.name and one.name == card.name) or bool(one.mac and one.mac == card.mac)


def _needs_no_ipv6(mine: Iterable[Seen]) -> bool:
    """Whether IPv6 is switched off, or ifupdown gets the same address by advertisements."""
    return any(
        "inet6" in one.closed or ("inet6" in one.asks and one.file.startswith("/etc/network/"))
        for one in mine
    )


def _fate(nic: Nic, mine: Sequence[Seen], alone: NicConfig, version: int, what: str) -> _Fate:
    """What becomes of static addresses.

    The first one is replaced; but one that the instance has already is not.

    Raises:
        KitError: Ganeti does not know the network or the gateway.
    """
    wanted = alone.address4 if version == 4 else alone.address6
    in_order = sorted(mine, key=lambda one: one.is_alias)
    found = [a for one in in_order for a in one.addresses if a.version == version]
    found = list(dict.fromkeys(a for a in found if not a.ip.is_link_local))
    gateways = [g for one in mine for g in one.gateways if g.version == version]
    if not found:
        return _Fate()
    if wanted is None:
        note = f"{what}: Ganeti has no IPv{version} address for it: {found[0]} stays"
        return _Fate(notes=(note,))
    own = next((a for a in found if a.ip == wanted.ip), found[0])
    wanted = _in_known_subnet(nic, own, wanted, what)
    if gateways and not _has_route(alone, version) and wanted.network != own.network:
        raise KitError(
            f"{what}: the guest has its default route through {gateways[0]}, and Ganeti knows no"
            " gateway of the new network",
            hint="gnt-network modify --gateway or --gateway6",
        )
    notes = tuple(
        f"{what}: {other} stays, as Ganeti has no address in its place"
        for other in found
        if other != own
    )
    return _Fate(own, wanted, tuple(dict.fromkeys(gateways)), notes)


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
