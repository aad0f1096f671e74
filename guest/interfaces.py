"""The files of ifupdown: /etc/network/interfaces and interfaces.d (interfaces(5), ifupdown 0.8)."""

from collections.abc import Collection, Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from guest.addresses import LATE_METRIC, NicConfig

MAIN = "etc/network/interfaces"
DIRECTORY = "etc/network/interfaces.d"
# The words that begin a stanza in interfaces(5), and end the one before; allow-* does, too.
_STANZAS = frozenset(
    {
        "iface",
        "auto",
        "no-auto-down",
        "no-scripts",
        "mapping",
        "template",
        "source",
        "source-directory",
        "rename",
    }
)

_HEADER = "# Written when this guest was created.\n"


def main() -> str:
    """The text of /etc/network/interfaces: the loopback interface, and `source` of interfaces.d."""
    return f"""{_HEADER}# interfaces.d has one file for each interface.
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback
"""


def path(config: NicConfig) -> str:
    """The path of the file of `render`, relative to the guest's root."""
    return f"{DIRECTORY}/{config.name}"


def render(config: NicConfig, *, udev: bool = True) -> str:
    """The text of /etc/network/interfaces.d/<nic>.

    Args:
        config: the NIC.
        udev: whether the guest has udev. Then DHCP is `allow-hotplug` instead of `auto`, and the
            boot does not wait for its answer.
    """
    start = "allow-hotplug" if config.dhcp and udev else "auto"
    stanzas = [f"{start} {config.name}", *_stanzas(config)]
    return _HEADER + "\n".join(stanzas) + "\n"


def static_addresses(text: str) -> tuple[tuple[str, IPv4Interface | IPv6Interface], ...]:
    """The interfaces and addresses of the static stanzas of any interfaces(5) file.

    Addresses that cannot be parsed are left out. Without a netmask, the prefix is a host's.
    """
    # The list must be complete first: the generator fills the options while it runs.
    return tuple(
        (name, address)
        for name, options in list(_static_stanzas(text))
        if (address := _address(options)) is not None
    )


def sources_directory(text: str) -> bool:
    """Whether an interfaces file includes those of interfaces.d."""
    words = (line.split() for line in text.splitlines())
    return any(
        len(line) > 1 and line[0] in ("source", "source-directory") and "interfaces.d" in line[1]
        for line in words
    )


def configured(text: str) -> frozenset[tuple[str, str]]:
    """Name and family (inet, inet6) of each interface that an interfaces(5) file configures.

    The ports of bridges and bonds are included, as they have no address of their own
    (bridge-utils-interfaces(5)).
    """
    found: set[tuple[str, str]] = set()
    for line in text.splitlines():
        match line.split():
            case ["iface", name, family, *_]:
                found.add((name, family))
            case ["bridge_ports" | "bridge-ports" | "bond-slaves" | "slaves", *ports]:
                found |= {(port, family) for port in ports for family in ("inet", "inet6")}
    return frozenset(found)


def without(text: str, taken: Collection[tuple[str, str]]) -> str:
    """Removes the interfaces and families from an interfaces(5) file that another one configures.

    With both, an address would be added twice, and `networking.service` would fail. Returns "" if
    the file would no longer configure anything.
    """
    kept: list[str] = []
    dropped = False
    for line in text.splitlines(keepends=True):
        words = line.split()
        if words and begins_stanza(words[0]):
            dropped = words[0] == "iface" and tuple(words[1:3]) in taken
        if not dropped:
            kept.append(line)
    left = "".join(kept)
    return left if configured(left) else ""


def begins_stanza(word: str) -> bool:
    """Whether a line's first word begins a stanza, and so ends the one before."""
    return word in _STANZAS or word.startswith("allow-")


def _static_stanzas(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    options: dict[str, str] = {}
    for line in text.splitlines():
        match line.split():
            case ["iface", name, "inet" | "inet6", "static", *_]:
                options = {}
                yield name, options
            case [word, *_] if begins_stanza(word):
                options = {}
            case [option, value, *_]:
                options[option] = value


def _address(options: dict[str, str]) -> IPv4Interface | IPv6Interface | None:
    address, netmask = options.get("address", ""), options.get("netmask")
    try:
        return ip_interface(f"{address}/{netmask}" if netmask and "/" not in address else address)
    except ValueError:
        return None


def _stanzas(config: NicConfig) -> list[str]:
    stanzas = []
    if config.address4 is not None:
        options = [f"address {config.address4}", *route4(config)]
        stanzas.append(_stanza(config.name, "inet static", options))
    if config.address6 is not None:
        stanzas.append(static6(config))
    if config.dhcp:
        metric4 = [f"metric {LATE_METRIC}"] if config.secondary4 else []
        # Kernels before 5.12 do not have this setting.
        variable = f"net.ipv6.conf.{config.name}.ra_defrtr_metric={LATE_METRIC}"
        metric6 = [f"pre-up sysctl -q -e -w {variable} || true"] if config.secondary6 else []
        stanzas += [
            _stanza(config.name, "inet dhcp", metric4),
            _stanza(config.name, "inet6 auto", metric6),
        ]
    return stanzas or [_stanza(config.name, "inet manual", [])]


def static6(config: NicConfig) -> str:
    """The stanza of a NIC's static IPv6 address, without a line end."""
    # accept_ra 0: a router's advertisements would add addresses and routes to the static ones.
    options = [f"address {config.address6}", "accept_ra 0", *route6(config)]
    return _stanza(config.name, "inet6 static", options)


def _stanza(name: str, method: str, options: list[str]) -> str:
    return "\n".join([f"iface {name} {method}", *(f"    {option}" for option in options)])


def route4(config: NicConfig) -> list[str]:
    """The options of a static stanza that make the IPv4 default route of a NIC; none without."""
    if config.gateway_onlink:
        return _route("ip", f"default via {config.gateway} dev {config.name} onlink")
    if config.gateway is not None:
        return [f"gateway {config.gateway}"]
    if config.device_route:
        return _route("ip", f"default dev {config.name} scope link")
    return []


def route6(config: NicConfig) -> list[str]:
    """The same for IPv6."""
    if config.gateway6_onlink:
        return _route("ip -6", f"default via {config.gateway6} dev {config.name} onlink")
    if config.gateway6 is not None:
        return [f"gateway {config.gateway6}"]
    if config.device_route6:
        return _route("ip -6", f"default dev {config.name}")
    return []


def _route(ip: str, route: str) -> list[str]:
    # `replace`, since a router's advertisement may have added the route before. ifdown must not
    # fail if the route does not exist any more.
    return [f"up {ip} route replace {route}", f"down {ip} route del {route} || true"]
