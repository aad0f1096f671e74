"""Whatever a guest's files have: the parsers end, and only what must change is changed."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.renumber import hosts, ifupdown, netplan, network_manager, networkd, tokens
from importer.renumber.model import Change, Seen
from tests.unit.importer.renumber.guests import FIRST, files, instance
from tests.unit.importer.renumber.test_survey import proposal

CHANGES = proposal(files("ifupdown"), instance(FIRST)).changes
WORDS = (
    *("iface", "ens3", "inet", "inet6", "static", "dhcp", "auto", "address", "netmask", "gateway"),
    *("192.0.2.10", "192.0.2.10/26", "2001:db8:aaaa::1", "255.255.255.0", "up", "ip route add"),
    *("[Match]", "[Network]", "[Route]", "[ipv4]", "[ipv6]", "[connection]", "[Link]", "Name=ens3"),
    *(
        "Address=",
        "Gateway=",
        "DHCP=yes",
        "address1=",
        "interface-name=ens3",
        "method=auto",
        "=",
        ",",
    ),
    *("network:", "ethernets:", "ens3:", "addresses:", "- ", "gateway4:", "routes:", "via:", "to:"),
    *("dhcp4: true", "[", "]", "{", "}", "match:", "macaddress:", "52:54:00:12:34:56", "#", "\\"),
    *("source", "mapping", "bridge_ports", "hwaddress ether", ":", '"', "\t", "\0", "é", "\r"),
)
TEXTS = st.lists(
    st.tuples(st.sampled_from(("", "  ", "    ", "      ")), st.lists(st.sampled_from(WORDS))),
    max_size=12,
).map(lambda lines: "".join(f"{indent}{' '.join(words)}\n" for indent, words in lines))


def read(text: str) -> list[Seen]:
    found = ifupdown.seen("/f", text, ifupdown.logical_names(text)) + netplan.seen("/f", text)
    ifupdown.included(text)
    networkd.linked(text)
    return found + networkd.seen("/f", text) + network_manager.seen("/f", text)


def edited(text: str, changes: Sequence[Change]) -> list[str]:
    return [
        ifupdown.edited(text, changes, {}),
        netplan.edited(text, changes),
        networkd.edited(text, changes),
        network_manager.edited(text, changes),
        hosts.edited(text, changes),
        *(networkd.relinked(text, change) for change in changes),
    ]


@given(st.one_of(TEXTS, st.text()))
def test_parsers_end(text: str) -> None:
    read(text)
    edited(text, CHANGES)


@given(st.one_of(TEXTS, st.text()))
def test_without_changes_no_file_changes(text: str) -> None:
    assert set(edited(text, ())) <= {text}


@given(TEXTS)
def test_what_was_written_is_not_changed_again(text: str) -> None:
    for edit in (
        lambda given: ifupdown.edited(given, CHANGES, {}),
        lambda given: networkd.edited(given, CHANGES),
        lambda given: network_manager.edited(given, CHANGES),
        lambda given: netplan.edited(given, CHANGES),
        lambda given: hosts.edited(given, CHANGES),
    ):
        once = edit(text)
        assert edit(once) == once


@given(st.text())
def test_mac_addresses_are_found_in_any_text(text: str) -> None:
    tokens.with_mac(text, "", "aa:00:00:00:00:01")


@pytest.mark.parametrize("text", ["\n" * 200_000, "x:" + " " * 200_000, "a" * 200_000])
def test_hostile_texts_are_searched_in_time(text: str) -> None:
    began = time.process_time()
    read(f"network:\n  ethernets:\n    ens3:\n      addresses: {text}")
    assert time.process_time() - began < 30
