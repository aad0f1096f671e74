from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest.addresses import eui64, plan_nics
from tests.unit.guest.scenarios import BRIDGED, COMMUNICATION, MAC2, NET4, NET6, SCENARIOS, nics

EUI64 = IPv6Interface("2a01:4f8:fff0:4f:266:37ff:fe65:870f/64")


def test_eui64() -> None:
    assert eui64(IPv6Network("2a01:4f8:fff0:4f::/64"), "00:66:37:65:87:0f") == EUI64


def test_eui64_clears_the_bit_of_a_local_mac() -> None:
    assert eui64(IPv6Network("2001:db8::/48"), "aa:00:00:77:71:e8") == IPv6Interface(
        "2001:db8::a800:ff:fe77:71e8/48"
    )


def test_eui64_needs_64_bits() -> None:
    with pytest.raises(ValueError, match="2001:db8::/65"):
        eui64(IPv6Network("2001:db8::/65"), "00:66:37:65:87:0f")


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 64), st.binary(min_size=6, max_size=6).map(bytes.hex)
)
def test_eui64_lies_in_its_subnet_and_tells_the_mac(prefix: int, length: int, mac: str) -> None:
    subnet = IPv6Network((prefix << 64, length), strict=False)
    octets = [mac[i : i + 2] for i in range(0, 12, 2)]
    address = eui64(subnet, ":".join(octets))
    assert address.ip in subnet and address.network == subnet
    low = (int(address.ip) & (2**64 - 1)).to_bytes(8, "big")
    assert low[3:5] == b"\xff\xfe"
    assert [int(o, 16) for o in octets] == [low[0] ^ 2, low[1], low[2], low[5], low[6], low[7]]


def test_dual_stack() -> None:
    (config,) = plan_nics(nics(*SCENARIOS["dual-stack"]), dhcp=True)
    assert config.name == "eth0"
    assert config.addresses == (IPv4Interface("198.51.100.20/24"), EUI64)
    assert config.gateway == IPv4Address("198.51.100.1")
    assert config.gateway6 == IPv6Address("2a01:4f8:fff0:4f::1")
    assert not (config.gateway_onlink or config.gateway6_onlink)
    assert not (config.device_route or config.device_route6 or config.dhcp)
    assert config.notes == ()


def test_an_ipv4_gateway_is_nothing_to_an_ipv6_only_nic() -> None:
    (config,) = plan_nics(nics(BRIDGED | NET4 | NET6), dhcp=True)
    assert config.addresses == (EUI64,)
    assert config.gateway is None and not config.device_route and not config.dhcp


def test_the_nics_own_ipv6_address_wins() -> None:
    (config,) = plan_nics(nics(BRIDGED | NET6 | {"IP": "2a01:4f8:fff0:4f::20"}), dhcp=True)
    assert config.addresses == (IPv6Interface("2a01:4f8:fff0:4f::20/64"),)
    assert config.gateway6 is not None


def test_routed_nics_have_host_addresses() -> None:
    (config,) = plan_nics(nics(*SCENARIOS["routed-with-gateway"]), dhcp=True)
    assert config.addresses == (
        IPv4Interface("198.51.100.20/32"),
        IPv6Interface("2a01:4f8:fff0:4f:266:37ff:fe65:870f/128"),
    )
    assert config.gateway_onlink and config.gateway6_onlink


def test_routed_nics_without_gateway_route_to_the_link() -> None:
    first, second = plan_nics(nics(*SCENARIOS["routed-bare"]), dhcp=True)
    assert first.device_route and not first.device_route6
    assert second.device_route6 and not second.device_route


def test_only_the_first_gateway_makes_the_default_route() -> None:
    first, second = plan_nics(nics(*SCENARIOS["two-gateways"]), dhcp=True)
    assert first.gateway is not None
    assert second.gateway is None and not second.device_route
    assert second.notes == ("NIC 1: no default route through 203.0.113.1, an earlier NIC has it",)


def test_an_unused_gateway_is_not_on_the_link() -> None:
    outside = {"NETWORK_GATEWAY": "192.0.2.1", "NETWORK_GATEWAY6": "2001:db8:ffff::1"}
    nic = BRIDGED | NET4 | NET6 | outside
    _, second = plan_nics(
        nics(nic | {"IP": "198.51.100.20"}, nic | {"MAC": MAC2, "IP": "198.51.100.21"}), dhcp=True
    )
    assert not (second.gateway_onlink or second.gateway6_onlink)


def test_a_gateway_behind_a_nic_without_one_is_used() -> None:
    private = BRIDGED | {"IP": "10.0.0.5", "NETWORK_SUBNET": "10.0.0.0/8"}
    host = BRIDGED | {"IP": "10.0.0.6"}
    public = BRIDGED | NET4 | {"MAC": MAC2, "IP": "198.51.100.20"}
    configs = plan_nics(nics(private, host, public), dhcp=True)
    assert [config.gateway is not None for config in configs] == [False, False, True]
    assert not any(config.device_route for config in configs)


def test_a_lone_host_address_reaches_its_link() -> None:
    (config,) = plan_nics(nics(BRIDGED | {"IP": "10.0.0.6"}), dhcp=True)
    assert config.addresses == (IPv4Interface("10.0.0.6/32"),)
    assert config.device_route


def test_a_private_nic_without_gateway_has_no_default_route() -> None:
    private = BRIDGED | {"IP": "10.0.0.5", "NETWORK_SUBNET": "10.0.0.0/8"}
    (config,) = plan_nics(nics(private), dhcp=True)
    assert config.gateway is None and not config.device_route


def test_the_gateway_does_not_route_through_itself() -> None:
    (config,) = plan_nics(nics(BRIDGED | NET4 | {"IP": "198.51.100.1"}), dhcp=True)
    assert config.gateway is None and not config.device_route


@pytest.mark.parametrize(
    ("gateway", "gateway6", "onlink", "onlink6"),
    [
        ("198.51.100.1", "fe80::1", False, False),
        ("192.0.2.1", "2001:db8::1", True, True),
        ("169.254.1.1", "2a01:4f8:fff0:4f::1", True, False),
    ],
)
def test_gateways_outside_of_the_subnet_are_on_the_link(
    gateway: str, gateway6: str, onlink: bool, onlink6: bool
) -> None:
    nic = BRIDGED | NET4 | NET6 | {"IP": "198.51.100.20"}
    nic |= {"NETWORK_GATEWAY": gateway, "NETWORK_GATEWAY6": gateway6}
    (config,) = plan_nics(nics(nic), dhcp=True)
    assert (config.gateway_onlink, config.gateway6_onlink) == (onlink, onlink6)


@pytest.mark.parametrize("dhcp", [True, False])
def test_dhcp_where_nothing_is_known_and_it_is_asked_for(dhcp: bool) -> None:
    (config,) = plan_nics(nics(BRIDGED | NET4), dhcp=dhcp)
    assert config.addresses == ()
    assert config.dhcp is dhcp


def test_a_subnet_without_room_for_eui64_is_told() -> None:
    nic = BRIDGED | NET4 | {"IP": "198.51.100.20", "NETWORK_SUBNET6": "2001:db8::/80"}
    nic["NETWORK_GATEWAY6"] = "2001:db8::1"
    (config,) = plan_nics(nics(nic), dhcp=True)
    assert config.addresses == (IPv4Interface("198.51.100.20/24"),)
    assert config.gateway6 is None
    assert "2001:db8::/80" in config.notes[0]


def test_an_address_outside_of_its_network_is_told() -> None:
    (config,) = plan_nics(nics(BRIDGED | NET4 | {"IP": "203.0.113.9"}), dhcp=True)
    assert config.addresses == (IPv4Interface("203.0.113.9/24"),)
    assert config.gateway_onlink
    assert "203.0.113.9" in config.notes[0]


def test_no_nic() -> None:
    assert plan_nics((), dhcp=True) == ()


@pytest.mark.parametrize("position", [0, 1])
def test_the_communication_nic_reaches_its_link_and_nothing_else(position: int) -> None:
    both = [BRIDGED]
    both.insert(position, COMMUNICATION)
    configs = plan_nics(nics(*both), dhcp=True)
    communication, other = configs[position], configs[1 - position]
    # The prefix is the network's: the node's 169.254.169.254 is on the link. The kernel makes the
    # address of fe80::/10 by itself; a second time, `ip address add` fails.
    assert communication.addresses == (IPv4Interface("169.254.12.34/16"),)
    assert communication.gateway is None and communication.gateway6 is None
    assert not (communication.device_route or communication.device_route6)
    assert not communication.dhcp and communication.notes == ()
    assert other.dhcp and not (other.secondary4 or other.secondary6)
    assert not (other.device_route or other.device_route6)


def test_a_communication_nic_takes_nothing_from_a_routed_nic_after_it() -> None:
    first, second = plan_nics(nics(COMMUNICATION, *SCENARIOS["routed-bare"][:1]), dhcp=True)
    assert not first.device_route and second.device_route


@pytest.mark.parametrize(
    "nic",
    [
        BRIDGED | {"IP": "169.254.1.2"},
        BRIDGED | {"IP": "fe80::5"},
        COMMUNICATION | {"NETWORK_GATEWAY": "169.254.0.1", "NETWORK_GATEWAY6": "fe80::1"},
        COMMUNICATION | {"IP": "fe80::5", "NETWORK_GATEWAY6": "fe80::1"},
        BRIDGED | {"IP": "169.254.1.2", "NETWORK_SUBNET": "169.254.1.0/24"},
    ],
)
def test_no_link_local_address_has_a_default_route(nic: dict[str, str]) -> None:
    (config,) = plan_nics(nics(nic), dhcp=True)
    assert len(config.addresses) == 1
    assert config.addresses[0].network.prefixlen < 32
    assert config.gateway is None and config.gateway6 is None
    assert not (config.device_route or config.device_route6)


def test_the_gateway_of_a_link_local_network_is_noted() -> None:
    (config,) = plan_nics(nics(COMMUNICATION | {"NETWORK_GATEWAY": "169.254.0.1"}), dhcp=True)
    assert config.notes == (
        "NIC 0: no default route through 169.254.0.1, its network is link-local",
    )


def test_a_nic_with_dhcp_that_comes_first_has_the_default_routes() -> None:
    static = BRIDGED | NET4 | NET6 | {"MAC": MAC2, "IP": "198.51.100.20"}
    first, second = plan_nics(nics(BRIDGED, static), dhcp=True)
    assert first.dhcp and not (first.secondary4 or first.secondary6)
    assert second.gateway is None and second.gateway6 is None
    assert second.notes == (
        "NIC 1: no default route through 198.51.100.1, "
        "NIC 0 comes first and gets one by DHCP (or set DHCP=no)",
        "NIC 1: no default route through 2a01:4f8:fff0:4f::1, "
        "NIC 0 comes first and gets one by DHCP (or set DHCP=no)",
    )
    _, second = plan_nics(nics(BRIDGED, static), dhcp=False)
    assert second.gateway is not None and second.gateway6 is not None and second.notes == ()


def test_what_a_later_nic_is_offered_stands_behind_the_default_route() -> None:
    first, second = plan_nics(nics(*SCENARIOS["static-and-dhcp"]), dhcp=True)
    assert first.gateway is not None and first.gateway6 is not None
    assert second.dhcp and second.secondary4 and second.secondary6
    _, second = plan_nics(nics(BRIDGED, BRIDGED | {"MAC": MAC2}), dhcp=True)
    assert second.secondary4 and second.secondary6


def test_a_host_address_leaves_the_default_route_to_dhcp() -> None:
    first, second = plan_nics(nics(BRIDGED | {"IP": "10.0.0.6"}, BRIDGED), dhcp=True)
    assert not first.device_route and not second.secondary4
