"""Guests' NICs as Ganeti states them, one set for each shape that the network plan knows."""

from guest.instance import Instance, Nic

MAC = "00:66:37:65:87:0f"
MAC2 = "00:66:37:65:87:10"
BRIDGED = {"MAC": MAC, "MODE": "bridged", "LINK": "gnt0"}
NET4 = {"NETWORK_SUBNET": "198.51.100.0/24", "NETWORK_GATEWAY": "198.51.100.1"}
NET6 = {"NETWORK_SUBNET6": "2a01:4f8:fff0:4f::/64", "NETWORK_GATEWAY6": "2a01:4f8:fff0:4f::1"}
# Ganeti's own network for instance communication (its constants INSTANCE_COMMUNICATION_*).
COMMUNICATION = {
    "MAC": MAC2,
    "MODE": "routed",
    "LINK": "communication_rt",
    "IP": "169.254.12.34",
    "NETWORK_SUBNET": "169.254.0.0/16",
    "NETWORK_SUBNET6": "fe80::/10",
}

SCENARIOS: dict[str, list[dict[str, str]]] = {
    "dual-stack": [BRIDGED | NET4 | NET6 | {"IP": "198.51.100.20"}],
    "ipv4-only": [BRIDGED | NET4 | {"IP": "198.51.100.20"}],
    "ipv6-only": [BRIDGED | NET6],
    "point-to-point": [
        BRIDGED
        | {
            "IP": "198.51.100.20",
            "NETWORK_SUBNET": "198.51.100.20/31",
            "NETWORK_GATEWAY": "198.51.100.21",
        },
        BRIDGED
        | {
            "MAC": MAC2,
            "IP": "2001:db8::2",
            "NETWORK_SUBNET6": "2001:db8::2/127",
            "NETWORK_GATEWAY6": "2001:db8::3",
        },
    ],
    "gateway-outside": [
        BRIDGED
        | NET4
        | NET6
        | {
            "IP": "198.51.100.20",
            "NETWORK_GATEWAY": "192.0.2.1",
            "NETWORK_GATEWAY6": "2001:db8:ffff::1",
        }
    ],
    "link-local-gateway": [BRIDGED | NET6 | {"NETWORK_GATEWAY6": "fe80::1"}],
    "routed-with-gateway": [BRIDGED | NET4 | NET6 | {"MODE": "routed", "IP": "198.51.100.20"}],
    "routed-bare": [
        {"MAC": MAC, "MODE": "routed", "LINK": "100", "IP": "198.51.100.20"},
        {"MAC": MAC2, "MODE": "routed", "LINK": "100", "IP": "2001:db8::2"},
    ],
    "two-gateways": [
        BRIDGED | NET4 | NET6 | {"IP": "198.51.100.20"},
        BRIDGED
        | {
            "MAC": MAC2,
            "IP": "203.0.113.5",
            "NETWORK_SUBNET": "203.0.113.0/25",
            "NETWORK_GATEWAY": "203.0.113.1",
        },
    ],
    "no-network": [BRIDGED],
    "communication": [BRIDGED, COMMUNICATION],
    "static-and-dhcp": [BRIDGED | NET4 | NET6 | {"IP": "198.51.100.20"}, BRIDGED | {"MAC": MAC2}],
}


def nics(*variables: dict[str, str]) -> tuple[Nic, ...]:
    """The NICs that these variables (without their NIC_n_) state."""
    environ = {
        "OS_API_VERSION": "20",
        "INSTANCE_NAME": "web1.example.org",
        "HYPERVISOR": "kvm",
        "DISK_COUNT": "0",
        "NIC_COUNT": str(len(variables)),
    }
    for index, nic in enumerate(variables):
        environ |= {f"NIC_{index}_{key}": value for key, value in nic.items()}
    return Instance.from_environ(environ).nics
