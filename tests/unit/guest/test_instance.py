import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest.instance import Disk, Instance, Network

CREATE_ENV = Path(__file__).parents[2] / "data/create.env"
MINIMAL = {
    "OS_API_VERSION": "20",
    "INSTANCE_NAME": "web1.example.org",
    "HYPERVISOR": "kvm",
    "DISK_COUNT": "1",
    "DISK_0_PATH": "/dev/xenvg/disk0",
    "NIC_COUNT": "1",
    "NIC_0_MAC": "aa:00:00:77:71:e8",
    "NIC_0_MODE": "bridged",
}


def ganeti_environ() -> dict[str, str]:
    pairs = (line.partition("=") for line in CREATE_ENV.read_text().splitlines())
    return {key: value for key, _, value in pairs}


def test_reads_what_ganeti_gives() -> None:
    instance = Instance.from_environ(ganeti_environ())
    assert instance.name == "web1.example.org"
    assert instance.hypervisor == "kvm"
    assert instance.variant == "bookworm"
    assert not instance.reinstall
    assert instance.old_name is None
    assert [disk.name for disk in instance.disks] == [None, "swap", "srv", None]
    assert instance.disks[1] == Disk(
        index=1,
        path="/srv/ganeti/file-storage/web1.example.org/"
        "7ce939d8-71dd-4a14-8743-3bc9aeb30034.file.disk1",
        uri=None,
        name="swap",
        access="rw",
    )
    first, second = instance.nics
    assert first.mac == "aa:00:00:77:71:e8"
    assert first.ip == IPv4Address("198.51.100.2")
    assert first.mode == "bridged"
    assert first.network == Network(
        subnet=IPv4Network("198.51.100.0/24"),
        gateway=IPv4Address("198.51.100.1"),
        subnet6=IPv6Network("2001:db8:0:4f::/64"),
        gateway6=IPv6Address("2001:db8:0:4f::1"),
    )
    assert second.ip is None
    assert second.network == Network(None, None, None, None)
    assert instance.hv["serial_speed"] == "115200"
    assert instance.hv["kernel_path"] == ""


def test_reads_what_is_seldom_given() -> None:
    environ = MINIMAL | {
        "INSTANCE_REINSTALL": "1",
        "OLD_INSTANCE_NAME": "old.example.org",
        "NIC_0_MAC": "AA:00:00:77:71:E8",
        "NIC_0_IP": "2001:db8::5",
        "NIC_0_NETWORK_SUBNET": "198.51.100.7/24",
    }
    instance = Instance.from_environ(environ)
    assert instance.reinstall
    assert instance.old_name == "old.example.org"
    nic = instance.nics[0]
    assert nic.mac == "aa:00:00:77:71:e8"
    assert nic.ip == IPv6Address("2001:db8::5")
    assert nic.network.subnet == IPv4Network("198.51.100.0/24")


def test_no_nics_where_none_are_counted() -> None:
    environ = {key: value for key, value in MINIMAL.items() if not key.startswith("NIC_")}
    assert Instance.from_environ(environ).nics == ()


@pytest.mark.parametrize(
    "variable",
    ["INSTANCE_NAME", "HYPERVISOR", "DISK_COUNT", "OS_API_VERSION", "NIC_0_MAC", "NIC_0_MODE"],
)
@pytest.mark.parametrize("empty", [True, False])
def test_names_the_missing_variable(variable: str, empty: bool) -> None:
    environ = dict(MINIMAL)
    if empty:
        environ[variable] = ""
    else:
        del environ[variable]
    with pytest.raises(ValueError, match=variable):
        Instance.from_environ(environ)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OS_API_VERSION", "5"),
        ("OS_API_VERSION", "21"),
        ("OS_API_VERSION", "020"),
        ("DISK_COUNT", "-1"),
        ("DISK_COUNT", "1_0"),
        ("DISK_COUNT", "one"),
        ("NIC_COUNT", " 1"),
        ("DISK_0_ACCESS", "rx"),
        ("INSTANCE_NAME", "-web"),
        ("INSTANCE_NAME", "web1.example.org\n"),
        ("INSTANCE_NAME", "web1..example.org"),
        ("INSTANCE_NAME", "web1.example.org."),
        ("INSTANCE_NAME", ".web"),
        ("INSTANCE_NAME", "web 1"),
        ("INSTANCE_NAME", "a" * 256),
        ("INSTANCE_NAME", "../etc"),
        ("OLD_INSTANCE_NAME", "old name"),
        ("NIC_0_MAC", "aa:00:00:77:71"),
        ("NIC_0_MAC", "aa:00:00:77:71:g0"),
        ("NIC_0_IP", "198.51.100.256"),
        ("NIC_0_IP", "fe80::1%eth0"),
        ("NIC_0_NETWORK_SUBNET", "198.51.100.0"),
        ("NIC_0_NETWORK_SUBNET", "198.51.100.0/33"),
        ("NIC_0_NETWORK_SUBNET", "198.51.100.0/255.255.255.0"),
        ("NIC_0_NETWORK_SUBNET", "2001:db8::/64"),
        ("NIC_0_NETWORK_SUBNET6", "198.51.100.0/24"),
        ("NIC_0_NETWORK_GATEWAY", "2001:db8::1"),
        ("NIC_0_NETWORK_GATEWAY6", "198.51.100.1"),
    ],
)
def test_names_the_bad_variable_and_its_value(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable) as caught:
        Instance.from_environ(MINIMAL | {variable: value})
    assert repr(value) in str(caught.value)


@given(st.text(max_size=80))
def test_a_name_that_passes_is_safe_in_files(name: str) -> None:
    try:
        instance = Instance.from_environ(MINIMAL | {"INSTANCE_NAME": name})
    except ValueError:
        return
    assert instance.name == name
    for label in name.split("."):
        assert re.fullmatch("[A-Za-z0-9_-]+", label)
    assert not name.startswith("-")


@given(st.from_regex(r"[a-z0-9_][a-z0-9_-]{0,9}(\.[a-z0-9_-]{1,9}){0,4}", fullmatch=True))
def test_what_ganeti_accepts_passes(name: str) -> None:
    assert Instance.from_environ(MINIMAL | {"INSTANCE_NAME": name}).name == name


@given(
    st.sampled_from(
        ["NIC_0_MAC", "NIC_0_IP", "NIC_0_NETWORK_SUBNET", "NIC_0_NETWORK_SUBNET6", "NIC_COUNT"]
    ),
    st.text(max_size=30),
)
def test_garbage_is_refused_by_name_or_read(variable: str, value: str) -> None:
    refusal = ""
    try:
        Instance.from_environ(MINIMAL | {variable: value})
    except ValueError as error:
        refusal = str(error)
    assert refusal == "" or "NIC_" in refusal
