"""Reads disks and addresses from a guest's configuration files. Pure.

The files may have any content: what cannot be parsed is ignored.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_interface
from typing import NamedTuple

# Paths from the root of a file system; /boot may be a file system of its own.
REFERRING = (
    *("/etc/fstab", "/etc/initramfs-tools/conf.d/*"),
    *("/etc/default/grub", "/etc/default/grub.d/*.cfg", "/etc/kernel/cmdline"),
    *("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg", "/grub2/grub.cfg"),
    *("/boot/loader/entries/*.conf", "/loader/entries/*.conf"),
)

TAGGED = re.compile(r"\b(UUID|LABEL|PARTUUID|PARTLABEL)=(\"[^\"]*\"|'[^']*'|[^\s\"';]+)")
BY = re.compile(r"/dev/disk/by-(uuid|label|partuuid|partlabel)/([^\s\"';]+)")
SEARCH = re.compile(r"\bsearch\s.*--(fs-uuid|label)\s.*?([^\s\"']+)[\"']?\s*$")
ESCAPED = re.compile(r"\\([0-7]{3})|\\x([0-9a-fA-F]{2})")  # of fstab(5), of udev(7)
NETPLAN_KINDS = {"ethernets", "bonds", "bridges", "vlans", "wifis", "dummy-devices", "tunnels"}


class Reference(NamedTuple):
    """A line that names a file system or swap."""

    file: str
    line: int
    tag: str  # UUID, LABEL, PARTUUID or PARTLABEL
    value: str
    text: str  # the line


class Setting(NamedTuple):
    """A line that gives an interface an address, or makes it use DHCP or the like."""

    file: str
    line: int
    interface: str  # as the file names it
    value: str  # address/prefix, or a method like dhcp


def references(file: str, content: str) -> list[Reference]:
    """The references in a file of REFERRING; of equal ones, only the first."""
    found: dict[tuple[str, str], Reference] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        # In fstab, options may refer to things that are not on this machine's disks.
        said = line.split(None, 1)[0] if file == "/etc/fstab" and line.strip() else line
        for tag, value in _named(said):
            if value and not value.startswith("$"):
                found.setdefault((tag, value), Reference(file, number, tag, value, line.strip()))
    return list(found.values())


def missing(named: Iterable[Reference], tags: Iterable[tuple[str, str]]) -> list[Reference]:
    """The references that match none of the tags on the disks; ignores the case of UUIDs."""
    there = {_folded(tag, value) for tag, value in tags}
    return [one for one in named if _folded(one.tag, one.value) not in there]


def addresses(file: str, content: str) -> list[Setting]:
    """The addresses and methods by interface in a file of NETWORK."""
    for pattern, parse in NETWORK.items():
        if file.startswith(pattern.partition("*")[0]):
            return [
                Setting(file, line, interface, value)
                for line, interface, value in parse(content.splitlines())
            ]
    return []


def _folded(tag: str, value: str) -> tuple[str, str]:
    return tag, value.lower() if tag.endswith("UUID") else value


def _named(said: str) -> Iterator[tuple[str, str]]:
    for tag, value in TAGGED.findall(said):
        yield tag, _unescaped(value.strip("\"'"))
    for tag, value in BY.findall(said):
        yield tag.upper(), _unescaped(value)
    if match := SEARCH.search(said):
        yield "UUID" if match[1] == "fs-uuid" else "LABEL", match[2]


def _unescaped(value: str) -> str:
    return ESCAPED.sub(
        lambda match: chr(int(match[1], 8) if match[1] else int(match[2], 16)), value
    )


Found = Iterator[tuple[int, str, str]]


def _ifupdown(lines: list[str]) -> Found:
    """interfaces(5): a netmask belongs to the address before it."""
    interface = method = ""
    address: tuple[int, str] | None = None
    for number, line in enumerate([*lines, "iface"], 1):
        words = [*line.split(), "", "", "", ""]
        if words[0] == "address":
            address = number, words[1]
        elif words[0] == "netmask" and address and "/" not in address[1]:
            address = address[0], f"{address[1]}/{words[1]}"
        elif words[0] in ("iface", "auto", "mapping", "source") or words[0].startswith("allow-"):
            if address and (value := _address(address[1])):
                yield address[0], interface, value
            address = None
            interface, method = words[1], words[3]
            if words[0] == "iface" and method in ("dhcp", "auto", "ppp"):
                yield number, interface, method


def _networkd(lines: list[str]) -> Found:
    """systemd.network(5); an interface matched by MAC address or path is shown by that."""
    interface = "*"
    for number, section, key, value in _ini(lines):
        if section == "Match" and key in ("Name", "MACAddress", "PermanentMACAddress", "Path"):
            interface = value
        elif key == "Address" and section in ("Network", "Address"):
            if address := _address(value):
                yield number, interface, address
        elif (section, key) == ("Network", "DHCP") and value.lower() not in ("no", "false", "0"):
            yield number, interface, "dhcp"


def _network_manager(lines: list[str]) -> Found:
    """nm-settings-keyfile(5): address1=ADDRESS/PREFIX,GATEWAY; secrets in it are ignored."""
    settings = list(_ini(lines))
    named = {key: value for _, section, key, value in settings if section == "connection"}
    interface = named.get("interface-name") or named.get("id", "*")
    for number, section, key, value in settings:
        if section not in ("ipv4", "ipv6"):
            continue
        if re.fullmatch(r"address(es)?\d*", key):
            if address := _address(value.partition(",")[0]):
                yield number, interface, address
        elif (key, value) == ("method", "auto"):
            yield number, interface, "dhcp" if section == "ipv4" else "auto"


def _netplan(lines: list[str]) -> Found:
    """Netplan's YAML in its usual form: one key on each line, lists in brackets or as items."""
    path: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        text = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if not text.strip():
            continue
        indent = len(text) - len(text.lstrip())
        item = text.lstrip().startswith("-")
        # A list's items may have the same indentation as its key.
        while path and (path[-1][0] > indent or (path[-1][0] == indent and not item)):
            path.pop()
        value = text.strip()
        if not item:
            key, _, value = value.partition(":")
            path.append((indent, key.strip("\"'")))
        keys = [key for _, key in path]
        if len(keys) != 4 or keys[0] != "network" or keys[1] not in NETPLAN_KINDS:
            continue
        if keys[3] == "addresses":
            for word in re.findall(r"[0-9A-Fa-f.:]+/\d+", value):
                if address := _address(word):
                    yield number, keys[2], address
        elif keys[3] in ("dhcp4", "dhcp6") and value.strip().lower() in ("true", "yes", "on"):
            yield number, keys[2], keys[3]


NETWORK: dict[str, Callable[[list[str]], Found]] = {
    "/etc/network/interfaces": _ifupdown,
    "/etc/network/interfaces.d/*": _ifupdown,
    "/etc/systemd/network/*.network": _networkd,
    "/etc/netplan/*.yaml": _netplan,
    "/etc/NetworkManager/system-connections/*": _network_manager,
}


def _ini(lines: list[str]) -> Iterator[tuple[int, str, str, str]]:
    """Line, section, key and value of each setting; sections and keys may be repeated."""
    section = ""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
        elif text and text[0] not in "#;":
            key, _, value = text.partition("=")
            yield number, section, key.strip(), value.strip()


def _address(text: str) -> str | None:
    with suppress(ValueError):
        return str(ip_interface(text))
    return None
