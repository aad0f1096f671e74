"""What a guest's files say of its network interfaces, and what becomes of them. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Literal

from guest.addresses import NicConfig
from guest.resolv import Resolver

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Family = Literal["inet", "inet6"]


# No pattern, and a name that Linux takes (dev_valid_name()): it becomes a part of a path.
_NAME = re.compile(r"[^\s/:*?\[!]{1,15}")


@dataclass(frozen=True)
class Seen:
    """What one place in a file says of an interface.

    Attributes:
        file: its path in the guest.
        name: of the interface, or a pattern; "" if the file knows its MAC address only.
        mac: lower case; "" if the file does not match by it.
        addresses: static ones, in the file's order.
        gateways: of default routes.
        asks: families that DHCP or router advertisements configure.
        closed: families that are switched off.
        below: what it stands on: the ports of a bridge or bond.
        kind: nic; over, for a bridge or bond, which has the addresses of its NIC; other, for VLANs,
            tunnels and the like, whose addresses are no business of Ganeti's.
        is_alias: whether it only adds addresses to an interface (eth0:1).
        is_command: whether the addresses are those of commands that are run.
    """

    file: str
    name: str
    mac: str = ""
    addresses: tuple[Interface, ...] = ()
    gateways: tuple[Address, ...] = ()
    asks: frozenset[Family] = frozenset()
    closed: frozenset[Family] = frozenset()
    below: tuple[str, ...] = ()
    kind: Literal["nic", "over", "other"] = "nic"
    is_alias: bool = False
    is_command: bool = False


@dataclass(frozen=True)
class Card:
    """A network card as the guest's files know it: a name, a MAC address, or both."""

    name: str
    mac: str


@dataclass(frozen=True)
class Change:
    """What becomes of one NIC of a guest, and of the bridge or bond over it.

    Attributes:
        index: Ganeti's number of the NIC.
        card: the guest's name of the NIC; "" if its files do not name it.
        old_mac: that they know; "" if they know none.
        interface: the card, or the bridge or bond over it that has the addresses.
        old: the addresses that are replaced, at most one of each family.
        old_gateways: likewise.
        config: the new addresses and routes; its name is the interface.
        adds4: whether the interface gets its IPv4 address from its file, and no more by DHCP.
        adds6: whether the interface gets an IPv6 address, and had none.
        resolver: the name servers that DHCP has given it so far; None if it keeps its own.
    """

    index: int
    card: str
    old_mac: str
    interface: str
    old: tuple[Interface, ...]
    old_gateways: tuple[Address, ...]
    config: NicConfig
    adds4: bool
    adds6: bool
    resolver: Resolver | None

    @property
    def has_name(self) -> bool:
        """Whether the guest's name of the NIC is known, and no pattern."""
        return _NAME.fullmatch(self.card) is not None

    @property
    def pairs(self) -> tuple[tuple[Interface, Interface], ...]:
        """Each old address, and its new one."""
        return tuple(
            (old, new)
            for old in self.old
            for new in self.config.addresses
            if old.version == new.version
        )

    @property
    def gateways(self) -> tuple[tuple[Address, Address], ...]:
        """Each old gateway, and its new one."""
        return tuple(
            (old, new)
            for old in self.old_gateways
            for new in (self.config.gateway, self.config.gateway6)
            if new is not None and old.version == new.version
        )

    def loses(self, gateway: Address) -> bool:
        """Whether a gateway goes, and the default route leads to the link itself."""
        config = self.config
        is_on_device = config.device_route if gateway.version == 4 else config.device_route6
        return is_on_device and gateway in self.old_gateways

    def is_of(self, name: str, mac: str = "") -> bool:
        """Whether a file with this name or MAC address means this interface."""
        macs = {self.old_mac, self.config.mac} - {""}
        return bool(name and name == self.interface) or bool(mac and mac in macs)


def change_of(changes: Iterable[Change], name: str, mac: str = "") -> Change | None:
    """The change of the interface with this name or MAC address; None if it stays as it is."""
    return next((change for change in changes if change.is_of(name, mac)), None)


def onlink(change: Change, gateway: Address) -> bool:
    """Whether a new gateway is outside of the subnet of the address."""
    config = change.config
    if gateway == config.gateway:
        return config.gateway_onlink
    return gateway == config.gateway6 and config.gateway6_onlink
