"""What each NIC of a guest is to be configured with, from what Ganeti says of the NIC."""

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


@dataclass(frozen=True)
class NicConfig:
    """The configuration of one NIC.

    Attributes:
        name: `eth0` for NIC 0, and so on.
        mac: lower case, with colons.
        addresses: at most one of each family, IPv4 first; empty for a NIC without static addresses.
        gateway: the IPv4 default route goes through it; None for no such route on this NIC.
        gateway6: the same for IPv6.
        gateway_onlink: `gateway` lies outside the address's own subnet, so that the kernel has to
            be told that it is on the link.
        gateway6_onlink: the same for IPv6; never for link-local gateways, which always are.
        device_route: the IPv4 default route goes to the link itself, without a gateway.
        device_route6: the same for IPv6.
        dhcp: nothing static is known, and the guest shall ask the network.
        notes: what the user should know, one sentence each, to be logged.
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
    """The address that a machine with this MAC gives itself in the subnet (RFC 4291, appendix A).

    Raises:
        ValueError: the prefix is longer than 64, so the interface's 64 bits do not fit.
    """
    if subnet6.prefixlen > _EUI64_BITS:
        raise ValueError(
            f"no address can be made from {subnet6} and {mac}: the prefix is longer than /64"
        )
    octets = bytes.fromhex(mac.replace(":", ""))
    # The universal/local bit is inverted, and ff:fe put in the middle.
    identifier = bytes([octets[0] ^ 0x02]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    address = int(subnet6.network_address) | int.from_bytes(identifier, "big")
    return IPv6Interface((address, subnet6.prefixlen))


def plan_nics(nics: Sequence[Nic], dhcp: bool) -> tuple[NicConfig, ...]:
    """Plan all NICs of a guest; `dhcp` says whether those without any address ask the network.

    One default route a family, on the first NIC that has a gateway of that family (a routed NIC
    without a gateway counts, its node is the gateway): with a second one of the same metric
    `ifup` fails with "File exists", and the guest would have no rule which to take.
    """
    statics = [_static(nic) for nic in nics]
    default4 = _default_nic(nics, [(s.address4, s.gateway4) for s in statics])
    default6 = _default_nic(nics, [(s.address6, s.gateway6) for s in statics])
    configs = []
    for index, (nic, static) in enumerate(zip(nics, statics, strict=True)):
        has4, has6 = index == default4, index == default6
        unused = [
            _unused_note(nic, gateway)
            for gateway, used in ((static.gateway4, has4), (static.gateway6, has6))
            if gateway is not None and not used
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
                device_route=has4 and static.gateway4 is None,
                device_route6=has6 and static.gateway6 is None,
                dhcp=dhcp and not addresses,
                notes=(*static.notes, *unused),
            )
        )
    return tuple(configs)


@dataclass(frozen=True)
class _Static:
    """What Ganeti says of one NIC; a gateway only beside an address, and never the NIC itself."""

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
        address4 = IPv4Interface((nic.ip, _prefix(network.subnet, routed, 32)))
        notes += _outside_note(nic, network.subnet)
    if isinstance(nic.ip, IPv6Address):
        address6 = IPv6Interface((nic.ip, _prefix(network.subnet6, routed, 128)))
        notes += _outside_note(nic, network.subnet6)
    elif network.subnet6 is not None:
        try:
            address6 = eui64(network.subnet6, nic.mac)
        except ValueError as error:
            notes.append(f"NIC {nic.index} gets no IPv6 address: {error}")
        else:
            address6 = IPv6Interface((address6.ip, 128)) if routed else address6
    # The gateway itself may be an instance: it must not route through itself.
    own4, own6 = address4 and address4.ip, address6 and address6.ip
    return _Static(
        address4=address4,
        address6=address6,
        gateway4=network.gateway if own4 not in (None, network.gateway) else None,
        gateway6=network.gateway6 if own6 not in (None, network.gateway6) else None,
        notes=tuple(notes),
    )


def _default_nic(
    nics: Sequence[Nic],
    family: Sequence[
        tuple[IPv4Interface | None, IPv4Address | None]
        | tuple[IPv6Interface | None, IPv6Address | None]
    ],
) -> int | None:
    """Index of the NIC that carries a family's default route, from each NIC's address, gateway."""
    usable = [
        (index, address, gateway)
        for index, (address, gateway) in enumerate(family)
        if address is not None
    ]
    for index, _, gateway in usable:
        # Ganeti's kvm-ifup turns proxy_arp and proxy_ndp on for its end of a routed NIC: the node
        # answers there for the addresses of all others.
        if gateway is not None or nics[index].mode == ROUTED:
            return index
    for index, address, _ in usable:
        # A host address and nothing else reaches nobody; with a route to the link, its neighbours.
        if address.network.num_addresses == 1:
            return index
    return None


def _prefix(subnet: IPv4Network | IPv6Network | None, routed: bool, host: int) -> int:
    # On a routed NIC nobody but the node is on the link, whatever the subnet says.
    return host if routed or subnet is None else subnet.prefixlen


def _outside_note(nic: Nic, subnet: IPv4Network | IPv6Network | None) -> list[str]:
    if subnet is None or nic.ip in subnet:
        return []
    return [f"NIC {nic.index}: its address {nic.ip} is outside of its network's subnet {subnet}"]


def _unused_note(nic: Nic, gateway: IPv4Address | IPv6Address) -> str:
    return f"NIC {nic.index}: no default route through {gateway}, an earlier NIC has it"


def _is_outside(
    gateway: IPv4Address | IPv6Address | None, address: IPv4Interface | IPv6Interface | None
) -> bool:
    if gateway is None or address is None:
        return False
    if isinstance(gateway, IPv6Address) and gateway.is_link_local:
        return False
    return gateway not in address.network
