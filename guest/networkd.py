"""The files of systemd-networkd (systemd.network(5)) and of udev's names (systemd.link(5))."""

from guest.addresses import LATE_METRIC, NicConfig

_HEADER = "# Written when this guest was created.\n"
ONLINE = "etc/systemd/system/systemd-networkd-wait-online.service.d/timeout.conf"
ONLINE_SECONDS = 30


def network_path(config: NicConfig) -> str:
    """Where `render` belongs, relative to the guest's root."""
    return f"etc/systemd/network/20-{config.name}.network"


def link_path(config: NicConfig) -> str:
    """Where `link` belongs, relative to the guest's root."""
    return f"etc/systemd/network/10-{config.name}.link"


def link(config: NicConfig) -> str:
    """The .link file by which udev gives the NIC its name, whatever slot it sits in.

    VLANs and bridges take over the MAC address of the NIC beneath them, but udev knows them as
    types of their own: `Type=ether` is the NIC alone. (PermanentMACAddress= would say so more
    plainly, but virtio's NICs have none.)
    """
    return f"""{_HEADER}[Match]
MACAddress={config.mac}
Type=ether

[Link]
Name={config.name}
"""


def online() -> str:
    """A drop-in for systemd-networkd-wait-online.service: what waits for the network goes on soon.

    By itself it waits for two minutes for a NIC that nobody answers by DHCP, and then fails.
    """
    return f"""{_HEADER}[Service]
ExecStart=
ExecStart=-/lib/systemd/systemd-networkd-wait-online --timeout={ONLINE_SECONDS}
"""


def matches(text: str, config: NicConfig) -> bool:
    """Whether a .network or .link file is for this very NIC, by its name or its MAC address.

    Patterns such as `Name=e*` are for NICs that nothing else is known of.
    """
    section = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if line.startswith("["):
            section = line.strip()
        named = key == "Name" and config.name in value.split()
        macs = value.lower().replace("-", ":").split() if key.endswith("MACAddress") else []
        if section == "[Match]" and (named or config.mac in macs):
            return True
    return False


def render(config: NicConfig) -> str:
    """The .network file of one NIC."""
    sections = [["[Match]", f"Name={config.name}"], *_link(config)]
    sections += [["[Network]", *_network(config)], *_metrics(config), *_routes(config)]
    return _HEADER + "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _link(config: NicConfig) -> list[list[str]]:
    if config.dhcp or config.addresses:
        return []
    # The boot must not wait for a NIC that nobody configures.
    return [["[Link]", "RequiredForOnline=no"]]


def _network(config: NicConfig) -> list[str]:
    if config.dhcp:
        return ["DHCP=yes"]
    if not config.addresses:
        return ["LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    # A router's advertisements would add addresses and routes to the static ones.
    return [*(f"Address={address}" for address in config.addresses), "IPv6AcceptRA=no"]


def _metrics(config: NicConfig) -> list[list[str]]:
    metric = f"RouteMetric={LATE_METRIC}"
    sections = [["[DHCPv4]", metric]] if config.secondary4 else []
    return [*sections, *([["[IPv6AcceptRA]", metric]] if config.secondary6 else [])]


def _routes(config: NicConfig) -> list[list[str]]:
    sections = []
    if config.gateway is not None:
        sections.append(_gateway(str(config.gateway), config.gateway_onlink))
    elif config.device_route:
        sections.append(["[Route]", "Destination=0.0.0.0/0", "Scope=link"])
    if config.gateway6 is not None:
        sections.append(_gateway(str(config.gateway6), config.gateway6_onlink))
    elif config.device_route6:
        sections.append(["[Route]", "Destination=::/0"])
    return sections


def _gateway(gateway: str, onlink: bool) -> list[str]:
    return ["[Route]", f"Gateway={gateway}", *(["GatewayOnLink=yes"] if onlink else [])]
