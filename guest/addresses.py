"""Plans the configuration of each NIC of a guest from Ganeti's description."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from guest.instance import Nic

_EUI64_BITS = 64
ROUTED = "routed"
# The metric of default routes that must not be preferred: DHCP clients and routers use up to 2048.
LATE_METRIC = 4096
# The subnets of link-local addresses, if Ganeti gives none (RFC 3927, RFC 4291).
_LINK_LOCAL4 = IPv4Network("169.254.0.0/16")
_LINK_LOCAL6 = IPv6Network("fe80::/10")


@dataclass(frozen=True)
class NicConfig:
    """The configuration of one NIC.

    Attributes:
        name: `eth0` for NIC 0, and so on.
        mac: lower case, with colons.
        addresses: at most one of each family, IPv4 first; empty for a NIC without static addresses.
        gateway: the gateway of the IPv4 default route; None for no such route on this NIC.
        gateway6: the same for IPv6.
        gateway_onlink: `gateway` is outside the address's subnet, so the route must be `onlink`.
        gateway6_onlink: the same for IPv6; never for link-local gateways, which need no option.
        device_route: the IPv4 default route goes to the link itself, without a gateway.
        device_route6: the same for IPv6.
        dhcp: no static address is known, and the guest uses DHCP and IPv6 autoconfiguration.
        secondary4: `dhcp`, but another NIC has the IPv4 default route, or the network is
            link-local: a default route from DHCP gets LATE_METRIC.
        secondary6: the same for IPv6.
        notes: warnings for the log, one sentence each.
    """

    name: str
    mac: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    gateway: IPv4Address | None
    gateway6: IPv6Address | None
    gateway_onlink: bool
    gateway6_onlink: bool
    device_route: bool
    device_route6: bool
    dhcp: bool
    secondary4: bool
    secondary6: bool
    notes: tuple[str, ...]

    @property
    def address4(self) -> IPv4Interface | None:
        """The static IPv4 address."""
        return next((a for a in self.addresses if isinstance(a, IPv4Interface)), None)

    @property
    def address6(self) -> IPv6Interface | None:
        """The static IPv6 address."""
        return next((a for a in self.addresses if isinstance(a, IPv6Interface)), None)


def eui64(subnet6: IPv6Network, mac: str) -> IPv6Interface:
    """The autoconfigured address of a MAC address in a subnet (RFC 4291, appendix A).

    Raises:
        ValueError: the prefix is longer than 64, so the interface's 64 bits do not fit.
    """
    if subnet6.prefixlen > _EUI64_BITS:
        raise ValueError(
            f"no address can be made from {subnet6} and {mac}: the prefix is longer than /64"
        )
    octets = bytes.fromhex(mac.replace(":", ""))
    # The universal/local bit is inverted, and ff:fe is inserted in the middle.
    identifier = bytes([octets[0] ^ 0x02]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    address = int(subnet6.network_address) | int.from_bytes(identifier, "big")
    return IPv6Interface((address, subnet6.prefixlen))


def plan_nics(nics: Sequence[Nic], dhcp: bool) -> tuple[NicConfig, ...]:
    """Plans all NICs of a guest; `dhcp`: those without any address use DHCP.

    Each family has one default route, on the first NIC that has a gateway of that family or uses
    DHCP. A routed NIC without a gateway counts, too: its node is the gateway. With a second route
    of the same metric, `ifup` would fail with "File exists". NICs of link-local networks, such as
    that of Ganeti's instance communication, get no route out of their link.
    """
    statics = [_static(nic) for nic in nics]
    asks = [dhcp and static.address4 is None and static.address6 is None for static in statics]
    offered = [ask and not _in_link_local(nic) for ask, nic in zip(asks, nics, strict=True)]
    default4 = _default_nic(nics, [(s.address4, s.gateway4) for s in statics], offered)
    default6 = _default_nic(nics, [(s.address6, s.gateway6) for s in statics], offered)
    configs = []
    for index, (nic, static) in enumerate(zip(nics, statics, strict=True)):
        has4, has6 = index == default4, index == default6
        unused = [
            _unused_note(nic, gateway, default, asked=offered[default])
            for gateway, default in ((static.gateway4, default4), (static.gateway6, default6))
            if gateway is not None and default is not None and default != index
        ]
        addresses = tuple(a for a in (static.address4, static.address6) if a is not None)
        configs.append(
            NicConfig(
                name=f"eth{nic.index}",
                mac=nic.mac,
                addresses=addresses,
                gateway=static.gateway4 if has4 else None,
                gateway6=static.gateway6 if has6 else None,
                gateway_onlink=has4 and _is_outside(static.gateway4, static.address4),
                gateway6_onlink=has6 and _is_outside(static.gateway6, static.address6),
                device_route=has4 and addresses != () and static.gateway4 is None,
                device_route6=has6 and addresses != () and static.gateway6 is None,
                dhcp=asks[index],
                secondary4=asks[index] and not has4,
                secondary6=asks[index] and not has6,
                notes=(*static.notes, *unused),
            )
        )
    return tuple(configs)


def host_addresses(
    configs: Sequence[NicConfig],
) -> tuple[IPv4Interface | IPv6Interface, ...]:
    """The addresses to which the host name resolves: those of the first NIC that has any.

    Link-local addresses do not count. Empty if the first NIC uses DHCP: its address is not known.
    """
    for config in configs:
        named = tuple(a for a in config.addresses if not a.ip.is_link_local)
        if named or (config.dhcp and not config.secondary4):
            return named
    return ()


@dataclass(frozen=True)
class _Static:
    """The static addresses and gateways of a NIC; a gateway only with an address."""

    address4: IPv4Interface | None
    address6: IPv6Interface | None
    gateway4: IPv4Address | None
    gateway6: IPv6Address | None
    notes: tuple[str, ...]


def _static(nic: Nic) -> _Static:
    network, routed = nic.network, nic.mode == ROUTED
    address4: IPv4Interface | None = None
    address6: IPv6Interface | None = None
    notes: list[str] = []
    if isinstance(nic.ip, IPv4Address):
        subnet = network.subnet or (_LINK_LOCAL4 if nic.ip in _LINK_LOCAL4 else None)
        address4 = IPv4Interface((nic.ip, _prefix(subnet, routed, 32)))
        notes += _outside_note(nic, network.subnet)
    if isinstance(nic.ip, IPv6Address):
        subnet6 = network.subnet6 or (_LINK_LOCAL6 if nic.ip in _LINK_LOCAL6 else None)
        address6 = IPv6Interface((nic.ip, _prefix(subnet6, routed, 128)))
        notes += _outside_note(nic, network.subnet6)
    elif network.subnet6 is not None and not network.subnet6.is_link_local:
        # (In a link-local subnet the kernel itself gives the NIC this address.)
        try:
            address6 = eui64(network.subnet6, nic.mac)
        except ValueError as error:
            notes.append(f"NIC {nic.index} gets no IPv6 address: {error}")
        else:
            address6 = IPv6Interface((address6.ip, 128)) if routed else address6
    # The gateway may be this instance, which must not route through itself.
    own4, own6 = address4 and address4.ip, address6 and address6.ip
    gateway4 = network.gateway if own4 not in (None, network.gateway) else None
    gateway6 = network.gateway6 if own6 not in (None, network.gateway6) else None
    if gateway4 is not None and _in_link_local(nic):
        notes.append(_closed_note(nic, gateway4))
        gateway4 = None
    if gateway6 is not None and own6 is not None and own6.is_link_local:
        notes.append(_closed_note(nic, gateway6))
        gateway6 = None
    return _Static(
        address4=address4,
        address6=address6,
        gateway4=gateway4,
        gateway6=gateway6,
        notes=tuple(notes),
    )


def _in_link_local(nic: Nic) -> bool:
    """Whether the NIC's IPv4 network is link-local, so that no route leaves it."""
    subnet = nic.network.subnet
    if subnet is not None:
        return subnet.is_link_local
    return isinstance(nic.ip, IPv4Address) and nic.ip.is_link_local


def _default_nic(
    nics: Sequence[Nic],
    family: Sequence[
        tuple[IPv4Interface | None, IPv4Address | None]
        | tuple[IPv6Interface | None, IPv6Address | None]
    ],
    offered: Sequence[bool],
) -> int | None:
    """Index of the NIC that has a family's default route; None for none.

    Args:
        nics: all NICs.
        family: the address and the gateway of each NIC in this family.
        offered: for each NIC, whether DHCP may offer a default route.
    """
    usable = [
        (index, address, gateway)
        for index, (address, gateway) in enumerate(family)
        if offered[index] or (address is not None and not address.ip.is_link_local)
    ]
    for index, _, gateway in usable:
        # Ganeti's kvm-ifup turns on proxy_arp and proxy_ndp for a routed NIC: on its link, the node
        # answers for all other addresses.
        if offered[index] or gateway is not None or nics[index].mode == ROUTED:
            return index
    for index, address, _ in usable:
        # A host address alone reaches nothing; with a route to the link, it reaches neighbours.
        if address is not None and address.network.num_addresses == 1:
            return index
    return None


def _prefix(subnet: IPv4Network | IPv6Network | None, routed: bool, host: int) -> int:
    if subnet is not None and subnet.is_link_local:
        return subnet.prefixlen
    # On the link of a routed NIC there is only the node, even if Ganeti gives a subnet.
    return host if routed or subnet is None else subnet.prefixlen


def _outside_note(nic: Nic, subnet: IPv4Network | IPv6Network | None) -> list[str]:
    if subnet is None or nic.ip in subnet:
        return []
    return [f"NIC {nic.index}: its address {nic.ip} is outside its network's subnet {subnet}"]


def _closed_note(nic: Nic, gateway: IPv4Address | IPv6Address) -> str:
    return f"NIC {nic.index}: no default route through {gateway}, its network is link-local"


def _unused_note(nic: Nic, gateway: IPv4Address | IPv6Address, default: int, *, asked: bool) -> str:
    start = f"NIC {nic.index}: no default route through {gateway}, "
    if asked:
        return f"{start}NIC {default} comes first and gets one by DHCP (or set DHCP=no)"
    return f"{start}an earlier NIC has it"


def _is_outside(
    gateway: IPv4Address | IPv6Address | None, address: IPv4Interface | IPv6Interface | None
) -> bool:
    if gateway is None or address is None:
        return False
    if isinstance(gateway, IPv6Address) and gateway.is_link_local:
        return False
    return gateway not in address.network
