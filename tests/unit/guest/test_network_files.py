"""interfaces.d, .network and .link files against tests/data/golden/network.

After a wanted change: GOLDEN_WRITE=1 pytest …, and read the diff.
"""

import os
from pathlib import Path

import pytest

from guest import interfaces, networkd
from guest.addresses import plan_nics
from tests.unit.guest.scenarios import MAC, SCENARIOS, nics

GOLDEN = Path(__file__).parents[2] / "data/golden/network"


def files(scenario: str, dhcp: bool) -> dict[str, str]:
    rendered = {}
    for config in plan_nics(nics(*SCENARIOS[scenario]), dhcp=dhcp):
        rendered[interfaces.path(config)] = interfaces.render(config)
        rendered[networkd.network_path(config)] = networkd.render(config)
    return rendered


@pytest.mark.parametrize(
    ("golden", "scenario", "dhcp"),
    [*((name, name, True) for name in SCENARIOS), ("no-network-no-dhcp", "no-network", False)],
)
def test_golden(golden: str, scenario: str, dhcp: bool) -> None:
    rendered = files(scenario, dhcp)
    text = "".join(f"==> {path} <==\n{content}\n" for path, content in rendered.items())
    path = GOLDEN / f"{golden}.txt"
    if os.environ.get("GOLDEN_WRITE"):
        path.write_text(text)
    assert text == path.read_text()


def test_main_sources_the_files_of_the_nics() -> None:
    lines = interfaces.main().splitlines()
    assert "source /etc/network/interfaces.d/*" in lines
    assert "auto lo" in lines and "iface lo inet loopback" in lines


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_static_addresses_reads_what_was_rendered(scenario: str) -> None:
    for config in plan_nics(nics(*SCENARIOS[scenario]), dhcp=True):
        expected = tuple((config.name, address) for address in config.addresses)
        assert interfaces.static_addresses(interfaces.render(config)) == expected


def test_static_addresses_of_a_hand_written_file() -> None:
    text = """
# iface eth9 inet static
auto lo eth0
iface lo inet loopback
iface eth0 inet static
    # address 192.0.2.1
    netmask 255.255.255.0
    address 192.0.2.9
iface eth0 inet6 static
    address 2001:db8::9
    netmask 64
allow-hotplug eth1
    address 192.0.2.10/24
iface eth1 inet dhcp
    address 192.0.2.11/24
iface eth2 inet static
    address nonsense
iface eth3 inet static
    address 192.0.2.12
"""
    found = [(name, str(address)) for name, address in interfaces.static_addresses(text)]
    assert found == [
        ("eth0", "192.0.2.9/24"),
        ("eth0", "2001:db8::9/64"),
        ("eth3", "192.0.2.12/32"),
    ]


@pytest.mark.parametrize(
    ("text", "sourced"),
    [
        (interfaces.main(), True),
        ("source-directory /etc/network/interfaces.d\n", True),
        ("# source /etc/network/interfaces.d/*\nauto lo\n", False),
        ("source\n", False),
    ],
)
def test_sources_directory(text: str, sourced: bool) -> None:
    assert interfaces.sources_directory(text) is sourced


def test_link_pins_the_name_of_the_nic_and_of_nothing_above_it() -> None:
    (config,) = plan_nics(nics(*SCENARIOS["dual-stack"]), dhcp=True)
    lines = networkd.link(config.name, config.mac).splitlines()
    match, link = lines.index("[Match]"), lines.index("[Link]")
    assert lines[match + 1 : link] == [f"MACAddress={MAC}", "Type=ether", ""]
    assert lines[link + 1 :] == ["Name=eth0"]
    assert networkd.link_path(config.name) == "etc/systemd/network/10-eth0.link"


def test_a_link_follows_the_nic_to_another_mac() -> None:
    other = "aa:00:00:99:99:99"
    for text in (networkd.link("eth0", MAC), networkd.link("eth0", MAC, imported=True)):
        assert networkd.relinked(text, other, {other}) == text.replace(MAC, other)
    assert networkd.relinked(text, other, {other, MAC}) == text
    by_hand = text.replace("# Written", "# Not written")
    assert networkd.relinked(by_hand, other, {other}) == by_hand


STATIC = """\
# A header.
auto eth0
iface eth0 inet static
    address 192.0.2.2/24
iface eth0 inet6 static
    address 2001:db8::2/64
"""


@pytest.mark.parametrize(
    ("theirs", "left"),
    [
        ("auto lo\niface lo inet loopback\niface eth1 inet dhcp\n", STATIC),
        (
            "iface eth0 inet dhcp\n",
            "# A header.\nauto eth0\niface eth0 inet6 static\n    address 2001:db8::2/64\n",
        ),
        ("iface eth0 inet dhcp\n  up true\n\niface eth0 inet6 auto\n", ""),
        ("iface br0 inet static\n  bridge_ports eth0\n  address 192.0.2.2/24\n", ""),
    ],
)
def test_what_another_file_configures_is_taken_out(theirs: str, left: str) -> None:
    assert interfaces.without(STATIC, interfaces.configured(theirs)) == left


@pytest.mark.parametrize(
    ("text", "matched"),
    [
        ("[Match]\nName=eth0 eth7\n[Network]\nDHCP=yes\n", True),
        (f"[Match]\nMACAddress={MAC.upper().replace(':', '-')}\n[Link]\nName=lan\n", True),
        ("[Match]\nName=e*\n", False),
        ("[Match]\nMACAddress=02:00:00:00:00:01\n[Link]\nName=eth0\n", False),
        ("# [Match]\n# Name=eth0\n", False),
    ],
)
def test_files_for_the_same_nic_are_told(text: str, matched: bool) -> None:
    (config,) = plan_nics(nics(*SCENARIOS["no-network"]), dhcp=True)
    assert networkd.matches(text, config) is matched
