"""The files of systemd-networkd (systemd.network(5)), and udev's .link files (systemd.link(5))."""

import re
from collections.abc import Collection

from guest.addresses import LATE_METRIC, NicConfig

_HEADER = "# Written when this guest was created.\n"
_IMPORTED = "# Written when this guest was imported.\n"
ONLINE = "etc/systemd/system/systemd-networkd-wait-online.service.d/timeout.conf"
ONLINE_SECONDS = 30


def network_path(config: NicConfig) -> str:
    """The path of the file of `render`, relative to the guest's root."""
    return f"etc/systemd/network/20-{config.name}.network"


def link_path(name: str) -> str:
    """The path of the .link file of the NIC with this name, relative to the guest's root."""
    return f"etc/systemd/network/10-{name}.link"


def link(name: str, mac: str, *, imported: bool = False) -> str:
    """The text of the .link file with which udev names the NIC, independent of its PCI slot.

    VLANs and bridges have the MAC address of their NIC, but other types: `Type=ether` matches only
    the NIC. (PermanentMACAddress= would be clearer, but virtio NICs have none.)
    """
    return f"""{_IMPORTED if imported else _HEADER}[Match]
MACAddress={mac}
Type=ether

[Link]
Name={name}
"""


def relinked(text: str, mac: str, macs: Collection[str]) -> str:
    """The text of a .link file for a NIC that may have another MAC address by now.

    A file that was not made by `link`, or that names another NIC of the guest, stays as it is.

    Args:
        text: of the file.
        mac: the NIC's address.
        macs: the addresses of all NICs of the guest.
    """
    found = re.search(r"^MACAddress=(\S+)$", text, re.MULTILINE)
    if not text.startswith((_HEADER, _IMPORTED)) or found is None or found[1].lower() in macs:
        return text
    return text[: found.start(1)] + mac + text[found.end(1) :]


def online() -> str:
    """A drop-in for systemd-networkd-wait-online.service with a shorter timeout.

    If a NIC gets no answer to DHCP, the service would wait for two minutes, and then fail.
    """
    return f"""{_HEADER}[Service]
ExecStart=
ExecStart=-/lib/systemd/systemd-networkd-wait-online --timeout={ONLINE_SECONDS}
"""


def matches(text: str, config: NicConfig) -> bool:
    """Whether a .network or .link file matches this NIC by its exact name or MAC address.

    Patterns such as `Name=e*` do not count: they are defaults for NICs without other files.
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
    """The text of the .network file of one NIC."""
    sections = [["[Match]", f"Name={config.name}"], *_link(config)]
    sections += [["[Network]", *_network(config)], *_metrics(config), *_routes(config)]
    return _HEADER + "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _link(config: NicConfig) -> list[list[str]]:
    if config.dhcp or config.addresses:
        return []
    # The boot must not wait for a NIC that is not configured.
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


def routes(config: NicConfig) -> list[str]:
    """The lines of the sections of the default routes."""
    return [line for section in _routes(config) for line in section]


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
