"""Parses and renders /etc/resolv.conf (resolv.conf(5))."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address


@dataclass(frozen=True)
class Resolver:
    """Name servers (addresses; IPv6 ones may have a zone) and search domains, in order."""

    nameservers: tuple[str, ...]
    search: tuple[str, ...]


def parse(text: str) -> Resolver:
    """Parses a resolv.conf like glibc: the last `search` or `domain` is used, the rest ignored."""
    nameservers: list[str] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_] if _is_address(address):
                nameservers.append(address)
            case ["search", *domains] if domains:
                search = tuple(domains)
            case ["domain", domain, *_]:
                search = (domain,)
    return Resolver(tuple(nameservers), search)


def without_loopback(resolver: Resolver) -> Resolver:
    """Removes the name servers that only this machine can reach.

    A guest does not have stubs such as systemd-resolved's 127.0.0.53 or a local dnsmasq. A zone
    (fe80::1%eth0) is an interface of this machine.
    """
    servers = tuple(s for s in resolver.nameservers if not _is_local(s))
    return Resolver(servers, resolver.search)


def render(resolver: Resolver) -> str:
    """The text of a resolv.conf."""
    lines = [f"search {' '.join(resolver.search)}"] if resolver.search else []
    lines += [f"nameserver {address}" for address in resolver.nameservers]
    return "".join(f"{line}\n" for line in lines)


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def _is_local(value: str) -> bool:
    address = ip_address(value)
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        if address.scope_id is not None or (mapped is not None and mapped.is_loopback):
            return True
    # For glibc, 0.0.0.0 and :: are the machine itself.
    return address.is_loopback or address.is_unspecified
