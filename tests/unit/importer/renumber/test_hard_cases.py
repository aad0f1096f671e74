"""Files that people have written by hand, and what must not go wrong with them."""

from collections.abc import Mapping

import pytest

from importer.renumber.survey import Proposal
from node.errors import KitError
from tests.unit.importer.renumber.guests import FIRST, ROUTED, SECOND, Files, instance
from tests.unit.importer.renumber.test_survey import STATIC, changed, proposal

INTERFACES = "/etc/network/interfaces"
NETPLAN = "/etc/netplan/a.yaml"
NETWORKD = "/etc/systemd/network/a.network"
KEYFILE = "/etc/NetworkManager/system-connections/a.nmconnection"
IFUPDOWN4 = "auto ens3\niface ens3 inet static\n address 192.0.2.10/26\n gateway 192.0.2.1\n"
DEVICE = "network:\n  ethernets:\n    ens3:\n      addresses: [192.0.2.10/26]\n"
KEYS = "[connection]\ninterface-name=ens3\ntype=ethernet\n[ipv4]\nmethod=manual\n"
UNIT = "[Match]\nName=ens3\n[Network]\nAddress=192.0.2.10/26\n"
# A routed NIC whose node is the gateway, as Ganeti has it without a network.
ON_DEVICE = {key: value for key, value in ROUTED.items() if "GATEWAY" not in key}
FOUR = {key: value for key, value in FIRST.items() if "6" not in key}


def new(path: str, text: str, *nics: Mapping[str, str]) -> str:
    """What becomes of a file; a second run changes nothing."""
    found, described = Files({path: text}), instance(*nics or [FOUR])
    made = proposal(found, described)
    assert not proposal(changed(found, made), described).edits
    return next((edit.new for edit in made.edits if edit.path == path), text)


def notes(made: Proposal) -> str:
    return "\n".join(made.notes)


def test_ipv6_by_commands_beside_an_address_of_ipv4() -> None:
    text = (
        f"{IFUPDOWN4} up ip -6 addr add 2001:db8:aaaa::1/64 dev $IFACE\n"
        " up ip -6 route add default via fe80::1 dev ens3\n"
        " up ip addr add 192.0.2.9/32 dev lo\n"
    )
    made = new(INTERFACES, text, FIRST)
    assert "ip -6 addr add 2001:db8:0:4f:a800:ff:fe00:1/64 dev $IFACE\n" in made
    assert "default via 2001:db8:0:4f::1 dev ens3\n" in made
    assert "inet6 static" not in made
    found = proposal(Files({INTERFACES: text}), instance(FIRST))
    assert "192.0.2.9/32 stays" not in notes(found)


@pytest.mark.parametrize(
    "command",
    [
        "ip route add default dev ens3 via {}",
        "ip route add default metric 100 via {} || true",
        "ip route replace 0.0.0.0/0 dev $IFACE proto static via {}",
        "route add default gw {}; ip route show default",
    ],
)
def test_default_routes_of_commands(command: str) -> None:
    text = IFUPDOWN4.replace("gateway 192.0.2.1", "post-up " + command.format("192.0.2.1"))
    assert new(INTERFACES, text).endswith(f" post-up {command.format('198.51.100.1')}\n")


def test_what_follows_a_value() -> None:
    text = IFUPDOWN4.replace(".10/26", ".10 # ours\n netmask 255.255.255.192 # /26")
    text = text.replace("gateway 192.0.2.1", "gateway 192.0.2.1 # router")
    wanted = text.replace("192.0.2.10 ", "198.51.100.2 ").replace(".192 #", ".0 #")
    assert new(INTERFACES, text) == wanted.replace("192.0.2.1 #", "198.51.100.1 #")


def test_a_route_of_ipv6_without_an_address_is_left_alone() -> None:
    text = f"{IFUPDOWN4} up ip -6 route add default via fe80::1 dev ens3\n"
    assert "inet6" not in new(INTERFACES, text, FIRST)
    made = proposal(Files({INTERFACES: text}), instance(FIRST))
    assert "is not added: its files have a route to fe80::1 already" in notes(made)


def test_a_gateway_in_another_stanza_than_the_address() -> None:
    first, gateway = IFUPDOWN4.split(" gateway")
    text = f"{first}iface ens3 inet static\n address 192.0.2.11/26\n gateway{gateway}"
    assert new(INTERFACES, text).endswith(" address 192.0.2.11/26\n gateway 198.51.100.1\n")


def test_a_route_to_the_network_gets_its_netmask() -> None:
    command = " up route add -net 192.0.2.0 netmask 255.255.255.192 gw 192.0.2.1 ens3\n"
    wanted = " up route add -net 198.51.100.0 netmask 255.255.255.0 gw 198.51.100.1 ens3\n"
    assert new(INTERFACES, IFUPDOWN4 + command).endswith(wanted)


def test_a_route_of_netplan_that_names_its_gateway_first() -> None:
    text = f"{DEVICE}      routes:\n      - via: 192.0.2.1\n        to: default\n"
    other = "      - via: 192.0.2.9\n        to: 10.0.0.0/8\n"
    wanted = text.replace("192.0.2.10/26", "198.51.100.2/24").replace(
        "192.0.2.1\n", "198.51.100.1\n"
    )
    assert new(NETPLAN, text + other) == wanted + other


def test_netplan_s_keys_are_those_of_all_files() -> None:
    texts = {
        NETPLAN: "network:\n  ethernets:\n    id0:\n      match:\n        macaddress:"
        " 52:54:00:00:00:01\n      set-name: ens3\n",
        "/etc/netplan/b.yaml": DEVICE.replace("ens3", "id0"),
    }
    made = proposal(Files(texts), instance(FOUR))
    assert {edit.path for edit in made.edits} == set(texts)
    assert "macaddress: aa:00:00:00:00:01\n" in made.edits[0].new
    assert "[198.51.100.2/24]" in made.edits[1].new


def test_addresses_of_netplan_with_labels() -> None:
    text = DEVICE.replace(
        " [192.0.2.10/26]",
        "\n      - 2001:db8:aaaa::1/64:\n          label: x\n      - 192.0.2.10/26",
    )
    made = new(NETPLAN, text, FIRST)
    assert "      - 2001:db8:0:4f:a800:ff:fe00:1/64:\n          label: x\n" in made


def test_a_gateway_of_netplan_outside_of_the_subnet_joins_the_other_routes() -> None:
    routes = "      routes:\n      - to: 10.0.0.0/8\n        via: 203.0.113.9\n"
    made = new(NETPLAN, f"{DEVICE}      gateway4: 192.0.2.1\n{routes}", ROUTED)
    assert made.count("routes:") == 1
    assert made.count("on-link: true") == 2
    assert "gateway4" not in made


def test_a_gateway_is_on_link_whatever_other_routes_are() -> None:
    other = "      - {to: 10.0.0.0/8, via: 203.0.113.9, on-link: true}\n"
    text = f"{DEVICE}      routes:\n      - {{to: default, via: 192.0.2.1}}\n{other}"
    assert "{to: default, via: 198.51.100.1, on-link: true}" in new(NETPLAN, text, ROUTED)
    other = "[Route]\nDestination=10.0.0.0/8\nGateway=203.0.113.9\nGatewayOnLink=yes\n"
    made = new(NETWORKD, f"{UNIT}Gateway=192.0.2.1\n{other}", ROUTED)
    assert "[Route]\nGateway=198.51.100.1\nGatewayOnLink=yes\n" in made


@pytest.mark.parametrize(
    ("path", "text", "route"),
    [
        (NETPLAN, f"{DEVICE}      gateway4: 192.0.2.1\n", 'to: "0.0.0.0/0"\n          scope: link'),
        (
            NETPLAN,
            f"{DEVICE}      routes:\n      - to: default\n        via: 192.0.2.1\n",
            'to: "0.0.0.0/0"\n        scope: link',
        ),
        (
            NETPLAN,
            f"{DEVICE}      routes: [{{to: default, via: 192.0.2.1}}]\n",
            '{to: "0.0.0.0/0", scope: link}',
        ),
        (
            NETPLAN,
            f"{DEVICE}      routes:\n      - on-link: true\n        to: default\n"
            "        via: 192.0.2.1\n",
            '      - scope: link\n        to: "0.0.0.0/0"\n',
        ),
        (
            NETPLAN,
            f"{DEVICE}      routes:\n      - via: 192.0.2.1\n        on-link: true\n"
            "        to: default\n",
            '      - scope: link\n        to: "0.0.0.0/0"\n',
        ),
        (
            NETPLAN,
            f"{DEVICE}      routes: [{{on-link: true, to: default, via: 192.0.2.1}}]\n",
            ', {to: "0.0.0.0/0", scope: link}]',
        ),
        (NETWORKD, f"{UNIT}Gateway=192.0.2.1\n", "[Route]\nDestination=0.0.0.0/0\nScope=link\n"),
        (
            NETWORKD,
            f"{UNIT}[Route]\nGateway=192.0.2.1\nGatewayOnLink=yes\n",
            "[Route]\nDestination=0.0.0.0/0\nScope=link\n",
        ),
        (KEYFILE, f"{KEYS}address1=192.0.2.10/26,192.0.2.1\n", "/32\nroute1=0.0.0.0/0\n"),
        (KEYFILE, f"{KEYS}address1=192.0.2.10/26\ngateway=192.0.2.1\n", "/32\nroute1=0.0.0.0/0\n"),
        (KEYFILE, f"{KEYS}addresses1=192.0.2.10;26;192.0.2.1;\n", ";32\nroute1=0.0.0.0/0\n"),
        (
            KEYFILE,
            f"{KEYS}address1=192.0.2.10/26\nroute1=0.0.0.0/0,192.0.2.1,5\n",
            "route1=0.0.0.0/0,0.0.0.0,5\n",
        ),
    ],
)
def test_the_default_route_of_a_routed_nic_without_a_gateway(
    path: str, text: str, route: str
) -> None:
    made = new(path, text, ON_DEVICE)
    assert route in made
    assert "192.0.2.1" not in made
    assert "on-link" not in made


@pytest.mark.parametrize("nic", [ROUTED, ON_DEVICE], ids=["on-link", "on-device"])
def test_a_gateway_in_braces_that_must_become_a_route(nic: Mapping[str, str]) -> None:
    text = "network:\n  ethernets:\n    ens3: {addresses: [192.0.2.10/26], gateway4: 192.0.2.1}\n"
    with pytest.raises(KitError, match=r"network.ethernets.ens3 has the gateway .* in braces"):
        proposal(Files({NETPLAN: text}), instance(nic))
    assert "gateway4: 198.51.100.1}" in new(NETPLAN, text)


def test_all_gateways_of_a_device_in_braces() -> None:
    addresses = "addresses: [192.0.2.10/26, '2001:db8:aaaa::1/64']"
    start = f"network:\n  ethernets:\n    ens3: {{{addresses}, "
    made = new(NETPLAN, f"{start}gateway4: 192.0.2.1, gateway6: 'fe80::1'}}\n", FIRST)
    assert "gateway4: 198.51.100.1, gateway6: '2001:db8:0:4f::1'}" in made
    made = new(NETPLAN, f"{start}routes: [{{via: 192.0.2.1, to: default}}]}}\n", FIRST)
    assert "routes: [{via: 198.51.100.1, to: default}]" in made


def test_dhcp_beside_static_routes_gets_a_default_route() -> None:
    text = "network:\n  ethernets:\n    ens3:\n      dhcp4: true\n      routes:\n"
    text += "      - {to: 10.0.0.0/8, via: 203.0.113.9}\n"
    (_, edit) = proposal(Files({NETPLAN: text}), instance(FOUR), static=STATIC).edits
    assert '      - to: "0.0.0.0/0"\n        via: "198.51.100.1"\n      - {to: 10' in edit.new


def test_a_keyfile_in_its_old_form() -> None:
    text = f"{KEYS}addresses1=192.0.2.10;26;192.0.2.1;\n"
    assert new(KEYFILE, text).endswith("addresses1=198.51.100.2;24;198.51.100.1;\n")


def test_a_keyfile_for_any_nic() -> None:
    text = KEYS.replace("interface-name=ens3\n", "") + "address1=192.0.2.10/26,192.0.2.1\n"
    assert new(KEYFILE, text).endswith("address1=198.51.100.2/24,198.51.100.1\n")


def test_an_address_that_ends_as_one_of_ipv4() -> None:
    text = "auto ens3\niface ens3 inet6 static\n address 2001:db8:aaaa::192.0.2.1/64\n"
    assert " address 2001:db8:0:4f:a800:ff:fe00:1/64\n" in new(INTERFACES, text, FIRST)


@pytest.mark.parametrize("ports", ["ens3 ens4\n", "none\n{0}ens3{1}{0}ens4{1}"])
def test_two_ports_of_a_bond(ports: str) -> None:
    ports = ports.format("iface ", " inet manual\n bond-master bond0\n")
    text = f"{IFUPDOWN4.replace('ens3', 'bond0')} bond-slaves {ports}"
    made = proposal(Files({INTERFACES: text}), instance(FOUR, SECOND))
    assert [len(change.config.addresses) for change in made.changes] == [1, 0]
    assert "NIC 1 (ens4): bond0 has the addresses of NIC 0" in notes(made)
    links = [edit.new for edit in made.edits if edit.path.endswith(".link")]
    assert len(links) == 2


def test_names_are_given_once_and_to_nics_that_exist() -> None:
    text = IFUPDOWN4 + IFUPDOWN4.replace("ens3", "ens4").replace(".10", ".20")
    found = Files({INTERFACES: text})
    with pytest.raises(KitError, match=r"--nic 0=ens3: NIC 1 gets the same name"):
        proposal(found, instance(FOUR, SECOND), chosen={0: "ens3", 1: "ens3"})
    with pytest.raises(KitError, match=r"--nic 5=ens3: the instance has no NIC 5"):
        proposal(found, instance(FOUR), chosen={5: "ens3"})
    text = "[Match]\nMACAddress=52:54:00:00:00:02\n[Link]\nName=ens4\n"
    found.texts["/etc/systemd/network/a.link"] = text
    macs = {1: "52:54:00:00:00:02"}
    made = proposal(found, instance(FOUR, SECOND), macs, chosen={0: "ens4"})
    assert [change.card for change in made.changes] == ["ens4", "ens3"]


@pytest.mark.parametrize("names", [("ens3", "ens4"), ("eth0", "eth1")])
def test_names_of_several_nics_may_need_another_boot(names: tuple[str, str]) -> None:
    text = IFUPDOWN4.replace("ens3", names[0])
    text += "iface ens4 inet static\n address 10.20.30.40/16\n".replace("ens4", names[1])
    made = notes(proposal(Files({INTERFACES: text}), instance(FOUR, SECOND)))
    assert ("update-initramfs -u in the guest" in made) == (names[0] == "ens3")


def test_a_name_that_no_file_has_is_noted() -> None:
    made = proposal(Files({INTERFACES: IFUPDOWN4}), instance(FOUR), chosen={0: "ens33"})
    assert "NIC 0 (ens33): the guest's files do not name it" in notes(made)


def test_a_gateway_that_only_commands_have_and_that_goes() -> None:
    """What is read, but not changed, is refused."""
    text = IFUPDOWN4.replace(" gateway 192.0.2.1", " up ip route add default via 192.0.2.1")
    with pytest.raises(
        KitError, match=r"NIC 0 \(ens3\): .* would still have the gateway 192.0.2.1"
    ):
        proposal(Files({INTERFACES: text}), instance(ON_DEVICE))


def test_name_servers_of_the_old_network_are_noted() -> None:
    texts = {INTERFACES: IFUPDOWN4, "/etc/resolv.conf": "nameserver 192.0.2.53\n"}
    wanted = "/etc/resolv.conf:1: 192.0.2.53 is of a network that the guest leaves"
    assert wanted in notes(proposal(Files(texts), instance(FOUR)))


def test_cloud_init_is_noted_unless_it_leaves_the_network_alone() -> None:
    path = "/etc/network/interfaces.d/50-cloud-init"
    texts = {INTERFACES: "source interfaces.d/*\n", path: IFUPDOWN4, "/etc/cloud/cloud.cfg": ""}
    assert "cloud-init is installed" in notes(proposal(Files(texts), instance(FOUR)))
    for off in (
        {"/etc/cloud/cloud-init.disabled": ""},
        {"/etc/cloud/cloud.cfg.d/99-off.cfg": "network: {config: disabled}\n"},
        {"/etc/cloud/cloud.cfg.d/99-off.cfg": "# ours\nnetwork:\n  config: disabled\n"},
    ):
        assert "cloud-init" not in notes(proposal(Files(texts | off), instance(FOUR)))


@pytest.mark.parametrize(
    ("path", "text", "adds"),
    [
        ("/etc/sysctl.d/local.conf", "net.ipv6.conf.all.disable_ipv6 = 1\n", False),
        ("/etc/sysctl.conf", "net/ipv6/conf/default/disable_ipv6=1\n", False),
        ("/etc/default/grub", 'GRUB_CMDLINE_LINUX="quiet ipv6.disable=1"\n', False),
        ("/etc/sysctl.conf", "#net.ipv6.conf.all.disable_ipv6 = 1\n", True),
        ("/etc/sysctl.conf", "net.ipv6.conf.all.disable_ipv6 = 0\n", True),
        ("/etc/default/grub", '#GRUB_CMDLINE_LINUX="ipv6.disable=1"\n', True),
    ],
)
def test_no_ipv6_is_added_where_it_is_switched_off(path: str, text: str, adds: bool) -> None:
    made = proposal(Files({INTERFACES: IFUPDOWN4, path: text}), instance(FIRST))
    assert ("IPv6 is switched off in the guest" in notes(made)) != adds
    assert ("inet6 static" in made.edits[-1].new) == adds


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "/etc/sysconfig/network-scripts/ifcfg-eth0",
            "DEVICE=eth0\nIPADDR=192.0.2.10\nNETMASK=255.255.255.0\n",
        ),
        ("/etc/dhcpcd.conf", "# static ip_address=192.0.2.9/24\nstatic ip_address=192.0.2.10/24\n"),
    ],
)
def test_files_that_are_not_changed_are_noted(path: str, text: str) -> None:
    lo = "/etc/sysconfig/network-scripts/ifcfg-lo"
    found = Files({path: text, lo: "DEVICE=lo\nIPADDR=127.0.0.1\nNETMASK=255.0.0.0\n"})
    made = notes(proposal(found, instance(FOUR)))
    assert made.endswith(f"{path}: files of this kind are not changed: 192.0.2.10")
    assert lo not in made


def test_a_pattern_of_names_is_noted() -> None:
    text = UNIT.replace("Name=ens3", "Name=ens3 eth0")
    assert "NIC 0 (ens3 eth0): this may match" in notes(
        proposal(Files({NETWORKD: text}), instance(FOUR))
    )


def test_a_nic_whose_addresses_are_on_a_vlan_is_noted() -> None:
    text = "auto ens3.7\niface ens3 inet manual\n" + IFUPDOWN4.replace("ens3", "ens3.7")
    made = proposal(Files({INTERFACES: text}), instance(FOUR))
    assert "NIC 0 (ens3): 198.51.100.2 gets into no file, as none has IPv4 for it" in notes(made)


class Large(Files):
    def read(self, path: str) -> str | None:
        return None if path == NETPLAN else super().read(path)


def test_a_file_that_is_too_large_to_be_read_is_no_missing_one() -> None:
    with pytest.raises(KitError, match=r"a.yaml in the guest: it is larger than 256 KiB"):
        proposal(Large({INTERFACES: IFUPDOWN4, NETPLAN: DEVICE}), instance(FOUR))
