from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from importer.instance import PARAMETERS, described
from node.errors import KitError

NAME = "vm1.example.org"
# As Ganeti 3.0.2 prints them.
ROWS: dict[str, list[str]] = {
    "name": [NAME],
    "hypervisor": ["kvm"],
    "nic.count": ["2"],
    "nic.mac/0": ["aa:00:00:90:b7:42"],
    "nic.ip/0": ["198.51.100.2"],
    "nic.mode/0": ["bridged"],
    "nic.network.name/0": ["gnt-fsn"],
    "nic.mac/1": ["aa:00:00:d0:d2:bd"],
    "nic.ip/1": ["-"],
    "nic.mode/1": ["bridged"],
    "nic.network.name/1": ["-"],
    "hv/kvm_flag": ["disabled"],
    "hv/kvm_extra": ["-bios /usr/share/ovmf/OVMF.fd"],
    "hv/serial_console": ["Y"],
    "hv/serial_speed": ["115200"],
}
NETWORKS = [
    ["gnt-fsn", "198.51.100.0/24", "198.51.100.1", "2001:db8:0:4f::/64", "2001:db8:0:4f::1"],
    ["plainnet", "192.0.2.0/24", "-", "-", "-"],
]


def listed(kind: str, fields: Sequence[str]) -> list[list[str]]:
    if kind == "network":
        assert list(fields) == ["name", "network", "gateway", "network6", "gateway6"]
        return NETWORKS
    other = ["other.example.org", *(["?"] * (len(fields) - 1))]
    return [other, [ROWS.get(field, [""])[0] for field in fields]]


def test_an_instance_with_a_network() -> None:
    found = described(NAME, listed)
    assert (found.name, found.hypervisor) == (NAME, "kvm")
    first, second = found.nics
    assert (first.mac, first.ip, first.mode) == (
        "aa:00:00:90:b7:42",
        ip_address("198.51.100.2"),
        "bridged",
    )
    assert first.network.subnet6 == ip_network("2001:db8:0:4f::/64")
    assert first.network.gateway == ip_address("198.51.100.1")
    assert (second.ip, second.network.subnet) == (None, None)
    assert set(found.hv) == set(PARAMETERS)
    assert found.hv["kvm_extra"] == "-bios /usr/share/ovmf/OVMF.fd"
    assert (found.hv["kvm_flag"], found.hv["serial_console"]) == ("disabled", "True")


def test_no_such_instance() -> None:
    with pytest.raises(KitError, match=r"instance vm9: Ganeti has none of that name"):
        described("vm9", listed)
