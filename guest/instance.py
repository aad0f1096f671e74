"""The instance as Ganeti describes it in the environment of OS scripts.

The variables are those of ganeti-os-interface(7). For values that are not set, Ganeti passes no
variable or an empty one; both mean None here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from types import MappingProxyType

API_VERSIONS = (10, 15, 20)

# The instance names that Ganeti accepts. Unlike in RFC 1123, labels may begin and end with a
# hyphen, and have underscores. The name itself must not begin with a hyphen, as it is used as an
# argument of programs.
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_HOST_NAME_MAX = 255
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_COUNT = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True)
class Disk:
    """One disk. `path` is a block device or a file, None if Ganeti only gives a URI."""

    index: int
    path: str | None
    uri: str | None
    name: str | None
    access: str  # "rw" or "ro"


@dataclass(frozen=True)
class Network:
    """The Ganeti network of a NIC. All values are None if the NIC is in no network."""

    subnet: IPv4Network | None
    gateway: IPv4Address | None
    subnet6: IPv6Network | None
    gateway6: IPv6Address | None


@dataclass(frozen=True)
class Nic:
    """One NIC. `mac` is lower case with colons; `ip` is IPv4 or IPv6."""

    index: int
    mac: str
    ip: IPv4Address | IPv6Address | None
    mode: str
    network: Network


@dataclass(frozen=True)
class Instance:
    """An instance. `hv` has the hypervisor's parameters, from INSTANCE_HV_*."""

    name: str
    hypervisor: str
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    hv: Mapping[str, str]
    variant: str | None
    reinstall: bool
    old_name: str | None  # on a rename only

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Instance":
        """Reads the instance from the environment of an OS script.

        Raises:
            ValueError: a variable is missing or invalid; the message has its name and value.
        """
        _check_api_version(environ)
        old_name = _text(environ, "OLD_INSTANCE_NAME")
        return cls(
            name=_host_name("INSTANCE_NAME", _required(environ, "INSTANCE_NAME")),
            hypervisor=_required(environ, "HYPERVISOR"),
            disks=tuple(
                _disk(environ, index)
                for index in range(_count("DISK_COUNT", _required(environ, "DISK_COUNT")))
            ),
            nics=tuple(
                _nic(environ, index)
                for index in range(_count("NIC_COUNT", environ.get("NIC_COUNT") or "0"))
            ),
            hv=_with_prefix(environ, "INSTANCE_HV_"),
            variant=_text(environ, "OS_VARIANT"),
            reinstall=environ.get("INSTANCE_REINSTALL") == "1",
            old_name=None if old_name is None else _host_name("OLD_INSTANCE_NAME", old_name),
        )


def _bad(variable: str, value: str, why: str) -> ValueError:
    return ValueError(f"{variable}={value!r}: {why}")


def _text(environ: Mapping[str, str], variable: str) -> str | None:
    return environ.get(variable) or None


def _required(environ: Mapping[str, str], variable: str) -> str:
    value = _text(environ, variable)
    if value is None:
        raise ValueError(f"{variable} is not set: Ganeti sets it for every OS script")
    return value


def _count(variable: str, value: str) -> int:
    # int() alone would accept "-1", "+1", "1_0" and digits of other scripts.
    if not _COUNT.fullmatch(value):
        raise _bad(variable, value, "not a count (0 to 9999)")
    return int(value)


def _check_api_version(environ: Mapping[str, str]) -> None:
    value = _required(environ, "OS_API_VERSION")
    if value not in {str(version) for version in API_VERSIONS}:
        known = ", ".join(str(version) for version in API_VERSIONS)
        raise _bad("OS_API_VERSION", value, f"not a version that this OS supports ({known})")


def _host_name(variable: str, value: str) -> str:
    # The name is written into files of the guest, so it must be a host name.
    if len(value) > _HOST_NAME_MAX or not _HOST_NAME.fullmatch(value):
        raise _bad(variable, value, "not a valid instance name")
    return value


def _with_prefix(environ: Mapping[str, str], prefix: str) -> Mapping[str, str]:
    return MappingProxyType(
        {
            key.removeprefix(prefix): value
            for key, value in environ.items()
            if key.startswith(prefix)
        }
    )


def _disk(environ: Mapping[str, str], index: int) -> Disk:
    prefix = f"DISK_{index}_"
    access = _text(environ, f"{prefix}ACCESS") or "rw"
    if access not in ("rw", "ro"):
        raise _bad(f"{prefix}ACCESS", access, "neither rw nor ro")
    return Disk(
        index=index,
        path=_text(environ, f"{prefix}PATH"),
        uri=_text(environ, f"{prefix}URI"),
        name=_text(environ, f"{prefix}NAME"),
        access=access,
    )


def _nic(environ: Mapping[str, str], index: int) -> Nic:
    prefix = f"NIC_{index}_"
    mac = _required(environ, f"{prefix}MAC")
    if not _MAC.fullmatch(mac.lower()):
        raise _bad(f"{prefix}MAC", mac, "not a MAC address (aa:bb:cc:dd:ee:ff)")
    return Nic(
        index=index,
        mac=mac.lower(),
        ip=_address(environ, f"{prefix}IP"),
        mode=_required(environ, f"{prefix}MODE"),
        network=Network(
            subnet=_subnet4(environ, f"{prefix}NETWORK_SUBNET"),
            gateway=_address4(environ, f"{prefix}NETWORK_GATEWAY"),
            subnet6=_subnet6(environ, f"{prefix}NETWORK_SUBNET6"),
            gateway6=_address6(environ, f"{prefix}NETWORK_GATEWAY6"),
        ),
    )


def _address(environ: Mapping[str, str], variable: str) -> IPv4Address | IPv6Address | None:
    value = _text(environ, variable)
    if value is None:
        return None
    try:
        address = ip_address(value)
    except ValueError:
        raise _bad(variable, value, "not an IP address") from None
    # A zone (fe80::1%eth0) is an interface of the node and has no meaning in the guest.
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise _bad(variable, value, "not an IP address (it has a zone)")
    return address


def _address4(environ: Mapping[str, str], variable: str) -> IPv4Address | None:
    address = _address(environ, variable)
    if isinstance(address, IPv6Address):
        raise _bad(variable, str(address), "not an IPv4 address")
    return address


def _address6(environ: Mapping[str, str], variable: str) -> IPv6Address | None:
    address = _address(environ, variable)
    if isinstance(address, IPv4Address):
        raise _bad(variable, str(address), "not an IPv6 address")
    return address


def _subnet4(environ: Mapping[str, str], variable: str) -> IPv4Network | None:
    value = _text(environ, variable)
    if value is None:
        return None
    try:
        # Host bits are accepted: only the prefix is used, and older versions of Ganeti pass them.
        return IPv4Network(_cidr(value), strict=False)
    except ValueError:
        raise _bad(variable, value, "not an IPv4 network (address/prefix)") from None


def _subnet6(environ: Mapping[str, str], variable: str) -> IPv6Network | None:
    value = _text(environ, variable)
    if value is None:
        return None
    try:
        return IPv6Network(_cidr(value), strict=False)
    except ValueError:
        raise _bad(variable, value, "not an IPv6 network (address/prefix)") from None


def _cidr(value: str) -> str:
    # ipaddress would also accept an address without a prefix, netmasks and host masks.
    if not re.fullmatch(r"[0-9A-Fa-f:.]+/[0-9]{1,3}", value):
        raise ValueError(value)
    return value
