"""What becomes of whole guests, against tests/data/golden/renumber.

After a wanted change: GOLDEN_WRITE=1 pytest …, and read the diff.
"""

import os
from collections.abc import Mapping
from typing import cast

import pytest

from guest.instance import Instance
from guest.resolv import Resolver
from importer.editing import as_diff
from importer.renumber import report, survey, tokens
from importer.renumber.survey import Proposal
from node.errors import KitError
from node.guest_files import GuestFiles
from tests.unit.importer.renumber.guests import (
    DATA,
    FIRST,
    GUESTS,
    PLAIN,
    ROUTED,
    SECOND,
    Files,
    files,
    instance,
)

INSTANCES = {
    "two-nics": instance(FIRST, SECOND),
    "netplan": instance(FIRST, SECOND),
    "networkd": instance(FIRST, SECOND),
    "netplan-dhcp": instance(FIRST, SECOND),
    "routed": instance(ROUTED),
    "netplan-onlink": instance(ROUTED),
}
STATIC = Resolver(("198.51.100.53", "2001:db8:0:4f::53"), ("example.org",))
DHCP = ("dhcp", "manager-dhcp", "netplan-dhcp", "networkd-dhcp")
OLD_MACS = {"networkd": {0: "52:54:00:12:34:56"}}


def proposal(
    found: Files,
    described: Instance,
    old_macs: Mapping[int, str] | None = None,
    chosen: Mapping[int, str] | None = None,
    static: Resolver | None = None,
) -> Proposal:
    texts = survey.read(cast(GuestFiles, found))
    return survey.propose(
        texts, described, old_macs=old_macs or {}, chosen=chosen or {}, static=static
    )


def changed(found: Files, made: Proposal) -> Files:
    return Files(found.texts | {edit.path: edit.new for edit in made.edits})


@pytest.mark.parametrize("name", GUESTS)
def test_golden(name: str) -> None:
    made = proposal(files(name), INSTANCES.get(name, instance(FIRST)), OLD_MACS.get(name))
    notes = [f"note: {note}" for note in made.notes]
    text = "\n".join([*report.addresses(made.changes, made.edits), *notes, as_diff(made.edits), ""])
    path = DATA / "golden/renumber" / f"{name}.txt"
    if os.environ.get("GOLDEN_WRITE"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("described", [FIRST, ROUTED], ids=["bridged", "routed"])
@pytest.mark.parametrize("name", DHCP)
def test_static_instead_of_dhcp(name: str, described: Mapping[str, str]) -> None:
    second = [SECOND] if name == "netplan-dhcp" else []
    whole, found = instance(described, *second), files(name)
    made = proposal(found, whole, static=STATIC)
    notes = [f"note: {note}" for note in made.notes]
    text = "\n".join([*report.addresses(made.changes, made.edits), *notes, as_diff(made.edits), ""])
    path = DATA / "golden/renumber" / f"{name}-static-{described['MODE']}.txt"
    if os.environ.get("GOLDEN_WRITE"):
        path.write_text(text)
    assert text == path.read_text()
    again = proposal(changed(found, made), whole, static=STATIC)
    assert as_diff(again.edits) == ""


@pytest.mark.parametrize("name", GUESTS)
def test_a_second_run_changes_nothing(name: str) -> None:
    described, found = INSTANCES.get(name, instance(FIRST)), files(name)
    again = proposal(changed(found, proposal(found, described)), described)
    assert as_diff(again.edits) == ""


@pytest.mark.parametrize("static", [None, STATIC], ids=["as-it-is", "static"])
@pytest.mark.parametrize("name", GUESTS)
def test_a_run_that_was_killed_is_completed(name: str, static: Resolver | None) -> None:
    """Each file is replaced at once; a rerun writes those that are missing."""
    described, old_macs = INSTANCES.get(name, instance(FIRST)), OLD_MACS.get(name)
    found = files(name)
    whole = proposal(found, described, old_macs, static=static)
    for count in range(len(whole.edits)):
        half = Files(found.texts | {edit.path: edit.new for edit in whole.edits[:count]})
        rest = proposal(half, described, old_macs, static=static)
        assert changed(half, rest).texts == changed(found, whole).texts


@pytest.mark.parametrize("name", GUESTS)
def test_no_configured_address_stays(name: str) -> None:
    found = files(name)
    made = proposal(found, INSTANCES.get(name, instance(FIRST)))
    lost = {old.ip for change in made.changes for old in change.old}
    for path, text in changed(found, made).texts.items():
        code = [line.partition("#")[0] for line in text.splitlines()]
        assert not lost & {address for line in code for address in tokens.addresses_in(line)}, path


def test_an_instance_with_more_nics_than_the_guest_needs_names() -> None:
    with pytest.raises(KitError, match=r"NIC 0, 1 .* not certain") as caught:
        proposal(files("ifupdown"), instance(FIRST, SECOND))
    assert caught.value.hint == "name it: --nic 0=ens3"
    made = proposal(files("ifupdown"), instance(SECOND, FIRST), chosen={1: "ens3"})
    assert [change.index for change in made.changes] == [1]
    assert any("NIC 0" in note and "do not name it" in note for note in made.notes)


def test_an_interface_that_is_left_from_other_times_is_no_nic() -> None:
    stale = files("ifupdown")
    stale.texts["/etc/network/interfaces.d/eth0"] = "auto eth0\niface eth0 inet manual\n"
    (change,) = proposal(stale, instance(FIRST)).changes
    assert change.card == "ens3"
    stale.texts["/etc/network/interfaces.d/eth0"] = "auto eth0\niface eth0 inet dhcp\n"
    with pytest.raises(KitError, match=r"not certain which of the guest's interfaces ens3, eth0"):
        proposal(stale, instance(FIRST))


def test_an_address_without_a_network_of_ganeti() -> None:
    """In the guest's own subnet, prefix and gateway stay; elsewhere, they are not known."""
    made = proposal(files("routed"), instance(PLAIN))
    (text,) = (edit.new for edit in made.edits if edit.path == "/etc/network/interfaces")
    assert "address 192.0.2.77/24\n    gateway 192.0.2.1\n" in text
    with pytest.raises(KitError, match="no network: its prefix and gateway are not known"):
        proposal(files("routed"), instance({**PLAIN, "IP": "203.0.113.9"}))


def test_a_network_without_a_gateway_for_a_guest_with_one() -> None:
    nic = {key: value for key, value in FIRST.items() if "GATEWAY" not in key}
    with pytest.raises(KitError, match=r"default route through 192.0.2.1, and Ganeti knows no"):
        proposal(files("routed"), instance(nic))


NETPLAN = """network:
  version: 2
  ethernets:
    ens3:
      addresses: [
        192.0.2.10/26,
        "2001:db8:aaaa::10/64",  # since 2020
      ]
      routes:
        - {to: default, via: 192.0.2.1}
"""
IN_BRACES = """network:
  ethernets:
    ens3: {nameservers: {addresses: [192.0.2.53]}, addresses: [192.0.2.10/26], gateway4: 192.0.2.1}
"""


def test_lists_of_netplan_over_several_lines() -> None:
    """In them, a colon is one of an address."""
    (_, edit) = proposal(Files({"/etc/netplan/a.yaml": NETPLAN}), instance(FIRST)).edits
    wanted = NETPLAN.replace("192.0.2.10/26", "198.51.100.2/24")
    wanted = wanted.replace("2001:db8:aaaa::10/64", "2001:db8:0:4f:a800:ff:fe00:1/64")
    assert edit.new == wanted.replace("192.0.2.1}", "198.51.100.1}")


def test_an_address_is_added_to_a_list_of_netplan_over_several_lines() -> None:
    text = NETPLAN.replace('        "2001:db8:aaaa::10/64",  # since 2020\n', "")
    (_, edit) = proposal(Files({"/etc/netplan/a.yaml": text}), instance(FIRST)).edits
    assert '198.51.100.2/24, "2001:db8:0:4f:a800:ff:fe00:1/64",\n      ]\n' in edit.new


def test_a_route_of_netplan_in_braces_is_marked_as_on_link() -> None:
    (_, edit) = proposal(Files({"/etc/netplan/a.yaml": NETPLAN}), instance(ROUTED)).edits
    assert "\n        - {to: default, via: 198.51.100.1, on-link: true}\n" in edit.new


def test_a_device_of_netplan_in_braces() -> None:
    (_, edit) = proposal(Files({"/etc/netplan/a.yaml": IN_BRACES}), instance(FIRST)).edits
    new = '[198.51.100.2/24, "2001:db8:0:4f:a800:ff:fe00:1/64"], gateway4: 198.51.100.1}'
    assert f"{{nameservers: {{addresses: [192.0.2.53]}}, addresses: {new}\n" in edit.new


CLASSES = "auto ens3\niface ens3 inet static\n\taddress 10.1.2.3\n\tgateway 10.0.0.1\n"


def test_an_address_without_netmask_gets_the_prefix_of_the_new_network() -> None:
    """Without one, ifupdown would derive it from the class of the address."""
    (_, edit) = proposal(Files({"/etc/network/interfaces": CLASSES}), instance(SECOND)).edits
    assert edit.new == CLASSES.replace("10.1.2.3", "10.99.0.40/20").replace("10.0.0.1", "10.99.0.1")


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "x" * 16])
def test_a_name_that_no_interface_can_have_is_no_part_of_a_path(name: str) -> None:
    text = CLASSES.replace("ens3", name)
    found = proposal(Files({"/etc/network/interfaces": text}), instance(SECOND))
    assert [edit.path for edit in found.edits] == ["/etc/network/interfaces"]


def test_more_files_than_are_read_are_refused() -> None:
    many = {f"/etc/netplan/{number:03}.yaml": NETPLAN for number in range(100)}
    with pytest.raises(KitError, match=r"/etc/netplan/\*.yaml in the guest: 100 files or more"):
        proposal(Files(many), instance(FIRST))


def test_options_of_another_stanza_are_noted() -> None:
    text = "iface lan inet static\n gateway 10.0.0.1\n" + CLASSES.replace(
        "static", "static inherits lan"
    )
    notes = proposal(Files({"/etc/network/interfaces": text}), instance(SECOND)).notes
    assert any("inherits options" in note for note in notes)


class LargeHosts(Files):
    def read(self, path: str) -> str | None:
        return None if path == "/etc/hosts" else super().read(path)


def test_a_hosts_file_that_is_too_large_is_noted() -> None:
    texts = {"/etc/network/interfaces": CLASSES}
    wanted = "/etc/hosts is larger than 1024 KiB: it is neither changed nor searched"
    notes = proposal(LargeHosts(texts | {"/etc/hosts": "10.1.2.3 a\n"}), instance(SECOND)).notes
    assert any(note.startswith(wanted) for note in notes)
    assert not any("/etc/hosts" in note for note in proposal(Files(texts), instance(SECOND)).notes)


@pytest.mark.parametrize("name", ["ens3.bak", "ens3~", ".ens3", "ens3"])
def test_names_that_ifupdown_ignores_in_a_source_directory(name: str) -> None:
    texts = {
        "/etc/network/interfaces": "source-directory interfaces.d\n",
        f"/etc/network/interfaces.d/{name}": CLASSES,
    }
    edits = proposal(Files(texts), instance(SECOND)).edits
    assert any("interfaces.d" in edit.path for edit in edits) == (name == "ens3")
    texts["/etc/network/interfaces"] = "source interfaces.d/*\n"
    edits = proposal(Files(texts), instance(SECOND)).edits
    assert any("interfaces.d" in edit.path for edit in edits)


CONTINUED = """auto ens3
iface ens3 \\
    inet static
    address \\
        10.1.2.3
    gateway \\
        10.0.0.1
"""


def test_stanzas_and_options_of_several_lines() -> None:
    (_, edit) = proposal(Files({"/etc/network/interfaces": CONTINUED}), instance(SECOND)).edits
    wanted = CONTINUED.replace("10.1.2.3", "10.99.0.40/20").replace("10.0.0.1", "10.99.0.1")
    assert edit.new == wanted


def test_a_gateway_of_two_lines_outside_of_the_subnet() -> None:
    (_, edit) = proposal(Files({"/etc/network/interfaces": CONTINUED}), instance(ROUTED)).edits
    assert "gateway" not in edit.new
    assert edit.new.count("up ip route replace default via 198.51.100.1 dev ens3 onlink\n") == 1


def test_a_stanza_of_two_lines_gets_a_static_address() -> None:
    text = "auto ens3\niface ens3 \\\n  inet dhcp\n  mtu 1400\n"
    found = Files({"/etc/network/interfaces": text})
    (_, edit) = proposal(found, instance(SECOND), static=STATIC).edits
    assert "\niface ens3 inet static\n    address 10.99.0.40/20\n" in edit.new
    assert edit.new.endswith("\n  mtu 1400\n")


FLOW = "{network: {version: 2, ethernets: {ens3: {addresses: [10.1.2.3/20]}}}}\n"
JSON = """{
  "network": {
    "ethernets": {
      "ens3": {
        "addresses": ["10.1.2.3/20"]
      }
    }
  }
}
"""


@pytest.mark.parametrize(
    "text",
    [
        *(FLOW, JSON, "network:\n  ethernets: {ens3: {dhcp4: true}}\n"),
        "network: {'ethernets': {ens3: {dhcp4: true}}}\n",
        "network:\n  ethernets:\n    ens3: {\n      addresses: [10.1.2.3/20]}\n",
        "network:\n  ethernets:\n    ens3:\n      routes:\n        - {to: default,\n"
        "           via: 10.0.0.1}\n",
    ],
)
def test_netplan_in_braces_that_are_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(KitError, match=r"/etc/netplan/a.yaml in the guest: its devices are in"):
        proposal(Files({"/etc/netplan/a.yaml": text}), instance(SECOND))


@pytest.mark.parametrize(
    "text",
    [
        "network: {version: 2, renderer: NetworkManager}\n",
        "network:\n  ethernets: {}\n",
        "network:\n  ethernets:  # {old: {\n    ens3: {dhcp4: true}\n",
        "network:\n  wifis:\n    wlan0: {access-points: {a: {password: 'x{y'}}}\n",
    ],
)
def test_netplan_in_other_braces_is_read(text: str) -> None:
    proposal(Files({"/etc/netplan/a.yaml": text}), instance(SECOND))


HOST = CLASSES.replace("10.1.2.3", "10.1.2.3/32")


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        (HOST, 32),
        (CLASSES, 20),
        (CLASSES.replace("\tgateway", "\tnetmask 255.255.255.255\n\tgateway"), 20),
    ],
    ids=["prefix", "none", "netmask"],
)
def test_the_prefix_of_a_host_is_reported_as_it_is_in_the_file(text: str, prefix: int) -> None:
    found = Files({"/etc/network/interfaces": text})
    made = proposal(found, instance(SECOND))
    first = report.addresses(made.changes, made.edits)[0]
    assert first == f"NIC 0 (ens3): 10.1.2.3/32 -> 10.99.0.40/{prefix}"
    made = proposal(changed(found, made), instance(SECOND))
    first = report.addresses(made.changes, made.edits)[0]
    assert first == f"NIC 0 (ens3): has 10.99.0.40/{prefix}"
