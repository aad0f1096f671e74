"""Edits the files of ifupdown: /etc/network/interfaces and what it includes. Pure.

See interfaces(5).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import NamedTuple

from guest import interfaces
from importer.renumber import tokens
from importer.renumber.model import Address, Change, Family, Interface, Seen, change_of

MAIN = f"/{interfaces.MAIN}"
_PORTS = ("bridge_ports", "bridge-ports", "bond-slaves", "slaves", "bond_slaves")
_DNS = ("dns-nameservers", "dns-nameserver", "dns-search", "dns-domain")
# Names of interfaces that are no network card, nor stand for one.
_OTHER = re.compile(r"(lo|dummy|tun|tap|wg|docker|virbr|veth|sit|gre|ppp|ipsec|he-)")
_METHODS = ("loopback", "tunnel", "v4tunnel", "6to4", "ppp", "wvdial")
_ADDS = re.compile(r"\bip\s+(?:-[46]\s+)?a\w*\s+(?:add|replace)\s+(\S+)(.*)")
_DEVICE = re.compile(r"\bdev\s+([\w.:-]+)")
# Between them may be `dev eth0 metric 100`.
_DEFAULT = re.compile(
    r"(?<!\S)(?:default|0\.0\.0\.0/0|::/0)\s+(?:[^\s;&|]+\s+){0,8}?(?:via|gw)\s+([^\s;&|]+)"
)
_IN_DIRECTORY = re.compile(r"[a-zA-Z0-9_-]+")  # other files of a source-directory are ignored


class Included(NamedTuple):
    """Files that are included: an absolute shell pattern; which names are, None for all."""

    pattern: str
    names: re.Pattern[str] | None = None

    def takes(self, path: str) -> bool:
        """Whether a file that matches the pattern is included."""
        return self.names is None or self.names.fullmatch(path.rpartition("/")[2]) is not None


@dataclass
class _Stanza:
    """A stanza: its words, and the indexes of its lines and of its options.

    `begun` is the last one of the lines that have its words: they may be several.
    """

    words: list[str]
    first: int
    begun: int
    last: int
    options: list[tuple[int, str, str]] = field(default_factory=list)  # line, name, rest

    @property
    def interface(self) -> str:
        """The name behind `iface`, without the number of an alias."""
        return self.words[1].partition(":")[0]

    def values(self, *names: str) -> list[str]:
        """The values of the options with these names, without those of the next line."""
        return [rest for _, name, rest in self.options if name in names and rest]


def included(text: str) -> list[Included]:
    """The files that a file includes."""
    found: list[Included] = []
    for line in text.splitlines():
        match line.split():
            case ["source", pattern, *_]:
                found.append(Included(_absolute(pattern)))
            case ["source-directory", pattern, *_]:
                found.append(Included(_absolute(f"{pattern.rstrip('/')}/*"), _IN_DIRECTORY))
    return found


def _absolute(pattern: str) -> str:
    return pattern if pattern.startswith("/") else f"/etc/network/{pattern}"


def logical_names(text: str) -> dict[str, str]:
    """The interface of each logical name: `auto eth0=home` (interfaces(5))."""
    words = [
        word
        for line in text.splitlines()
        if (line.split() or [""])[0] == "auto" or line.startswith("allow-")
        for word in line.split()[1:]
    ]
    return {
        logical: physical
        for physical, mark, logical in (word.partition("=") for word in words)
        if mark
    }


def seen(file: str, text: str, logical: Mapping[str, str]) -> list[Seen]:
    """The interfaces that a file configures; those with `auto` alone, too.

    Args:
        file: its path.
        text: its content.
        logical: of `logical_names` of all files.
    """
    found = []
    for stanza in _stanzas(text.splitlines()):
        match stanza.words:
            case ["iface", name, "inet" | "inet6" as family, method, *_]:
                name = logical.get(name, name)
                found.append(_seen(file, stanza, name, family, method))
                bonds = stanza.values("bond-master", "bond_master")
                found += [Seen(file, bond, below=(name,), kind="over") for bond in bonds]
    return found


def edited(text: str, changes: Sequence[Change], logical: Mapping[str, str]) -> str:
    """Replaces addresses, netmasks, gateways and MAC addresses; adds stanzas of IPv6."""
    lines = text.splitlines(keepends=True)
    added: dict[int, str] = {}
    for stanza in _stanzas(text.splitlines()):
        if stanza.words[0] != "iface" or len(stanza.words) < 2:
            continue
        name = logical.get(stanza.interface, stanza.interface)
        if change := change_of(changes, name):
            main = _main(stanza, change)
            for place, option, rest in stanza.options:
                lines[place] = _option(lines[place], option, rest, main, change)
            if main and not _has_mask(stanza):
                _state_prefix(lines, stanza, main[1])
            fixes = change.adds4 and stanza.words[2:4] == ["inet", "dhcp"]
            if fixes:
                head = lines[stanza.first : stanza.begun + 1]
                lines[stanza.first] = _static(head, change)
                lines[stanza.first + 1 : stanza.begun + 1] = [""] * (len(head) - 1)
            if change.adds6 and (fixes or (main and main[0].version == 4)):
                added[stanza.last] = f"\n{interfaces.static6(change.config)}\n"
        for card in changes:
            if name in (card.card, card.interface):
                for place, option, _ in stanza.options:
                    if option == "hwaddress":
                        lines[place] = tokens.with_mac(lines[place], "", card.config.mac)
    for place, stanza6 in added.items():
        lines[place] = lines[place].rstrip("\n") + "\n" + stanza6
    return "".join(lines)


def _static(head: Sequence[str], change: Change) -> str:
    """The first line of a stanza that used DHCP, and its address, route and name servers.

    Args:
        head: the lines with the words of the stanza.
        change: of its interface.
    """
    first = " ".join([head[0].rstrip(" \t\\\n"), *(line.strip(" \t\\\n") for line in head[1:])])
    config, resolver = change.config, change.resolver
    options = [f"address {config.address4}", *interfaces.route4(config)]
    if resolver and resolver.nameservers:
        options.append(f"dns-nameservers {' '.join(resolver.nameservers)}")
    if resolver and resolver.search:
        options.append(f"dns-search {' '.join(resolver.search)}")
    static = re.sub(r"(\sinet\s+)dhcp\b", r"\1static", first)
    return "\n".join([static, *(f"    {option}" for option in options)]) + "\n"


def _stanzas(lines: Sequence[str]) -> Iterator[_Stanza]:
    """The stanzas; a line that ends with a backslash goes on in the next one."""
    current: _Stanza | None = None
    option, goes_on = "", False
    for place, line in enumerate(lines):
        text = line.strip()
        if not goes_on and (not text or text.startswith("#")):
            continue
        name, _, rest = text.rstrip("\\").strip().partition(" ")
        name, _, tail = name.partition("\t")
        rest = f"{tail} {rest}".strip()
        if goes_on:
            rest = text.rstrip("\\").strip()
            if current and option:
                current.options.append((place, option, rest))
            elif current:
                current.words += rest.split()
                current.begun = place
        elif interfaces.begins_stanza(name):
            if current:
                yield current
            current, option = _Stanza([name, *rest.split()], place, place, place), ""
        elif current:
            option = name
            current.options.append((place, name, rest))
        if current:
            current.last = place
        goes_on = text.endswith("\\")
    if current:
        yield current


def _seen(file: str, stanza: _Stanza, name: str, family: Family, method: str) -> Seen:
    ports = [
        port for value in stanza.values(*_PORTS) for port in value.split() if port[0].isalnum()
    ]
    base = name.partition(":")[0]
    if method in _METHODS or _OTHER.match(base) or _is_vlan(stanza, base):
        return Seen(file, base, kind="other")
    address = _address(stanza)
    runs = [rest for _, option, rest in stanza.options if _is_command(option)]
    found = [*([address] if address else ()), *(a for run in runs for a in _added(run, base))]
    gateways = stanza.values("gateway") + [g for run in runs for g in _DEFAULT.findall(run)]
    return Seen(
        file,
        base,
        addresses=tuple(found),
        gateways=tuple(g for text in gateways if (g := _ip(text))),
        asks=frozenset({family} if method in ("dhcp", "auto") else ()),
        below=tuple(port for port in ports if port not in ("none", "regex", "all")),
        kind="over" if ports else "nic",
        is_alias=":" in name,
        is_command=address is None,
    )


def _is_vlan(stanza: _Stanza, name: str) -> bool:
    raw = stanza.values("vlan-raw-device", "vlan_raw_device")
    return bool(raw) or re.fullmatch(r"vlan\d+|.+\.\d+", name) is not None


def _is_command(option: str) -> bool:
    return option in ("up", "down") or option.startswith(("pre-", "post-"))


def _address(stanza: _Stanza) -> Interface | None:
    text = _word(next(iter(stanza.values("address")), ""))
    mask = _word(next(iter(stanza.values("netmask")), "")) or None
    with suppress(ValueError):
        return ip_interface(f"{text}/{mask}" if mask and "/" not in text else text)
    return None


def _added(run: str, name: str) -> list[Interface]:
    """The addresses that a command adds, but for those of other interfaces."""
    found = []
    for command in re.split(r"[;&|]", run):
        for text, rest in _ADDS.findall(command):
            device = _DEVICE.search(rest)
            with suppress(ValueError):
                if device is None or device[1].partition(":")[0] == name:
                    found.append(ip_interface(text))
    return found


def _ip(text: str) -> Address | None:
    with suppress(ValueError):
        return ip_address(_word(text))
    return None


def _word(value: str) -> str:
    """The first word of a value: what follows, such as a comment, is nothing to ip(8)."""
    return (value.split() or [""])[0]


def _main(stanza: _Stanza, change: Change) -> tuple[Interface, Interface] | None:
    """The old address that the stanza has in its option `address`, and the new one."""
    own = _address(stanza)
    return next((pair for pair in change.pairs if own and own.ip == pair[0].ip), None)


def _option(
    line: str, option: str, rest: str, main: tuple[Interface, Interface] | None, change: Change
) -> str:
    """The line of an option, changed."""
    if option in _DNS:
        return line
    if option == "gateway":
        return _gateway(line, rest, main[1] if main else _ip(rest), change)
    if _is_command(option):
        return tokens.replaced(_with_netmask(line, change), change)
    if main is None:
        return line
    if option == "netmask":
        new = main[1]
        old = _word(rest)
        mask = str(new.netmask) if "." in old else str(new.network.prefixlen)
        return line.replace(old, mask, 1) if old else line
    return tokens.replaced(line, change)


def _gateway(line: str, rest: str, of: Interface | Address | None, change: Change) -> str:
    """The line of a gateway, or lines of commands; it may be in another stanza than the address.

    Args:
        line: of the option.
        rest: its value, "" if that is in the next line.
        of: the address of the stanza or the gateway: its version counts.
        change: of the interface.
    """
    if of is None or (rest and _ip(rest) not in change.old_gateways):
        return line
    config = change.config
    wanted = interfaces.route4(config) if of.version == 4 else interfaces.route6(config)
    if len(wanted) == 1:
        return tokens.replaced(line, change)
    indent = line[: len(line) - len(line.lstrip())]
    return "".join(f"{indent}{each}\n" for each in wanted) if rest else ""


def _with_netmask(line: str, change: Change) -> str:
    """A command with the new netmask, if it has the old network (route(8))."""
    found = tokens.addresses_in(line)
    for old, new in change.pairs:
        if old.version == 4 and old.network.network_address in found and new.network.prefixlen < 31:
            netmask = re.compile(rf"(\bnetmask\s+){re.escape(str(old.netmask))}(?![\w.])")
            line = netmask.sub(rf"\g<1>{new.netmask}", line)
    return line


def _has_mask(stanza: _Stanza) -> bool:
    return bool(stanza.values("netmask")) or any(
        "/" in _word(text) for text in stanza.values("address")
    )


def _state_prefix(lines: list[str], stanza: _Stanza, new: Interface) -> None:
    """Writes the prefix length behind an address that had none: the default is a class of IPv4."""
    for place, option, _ in stanza.options:
        if option == "address":
            lines[place] = lines[place].replace(str(new.ip), str(new))
