import string
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.renumber import tokens
from importer.renumber.model import Address
from tests.unit.importer.renumber.guests import FIRST, files, instance
from tests.unit.importer.renumber.test_survey import proposal

(CHANGE,) = proposal(files("ifupdown"), instance(FIRST)).changes  # 192.0.2.10/26 and IPv6


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("192.0.2.10", "198.51.100.2"),
        ("192.0.2.10/26", "198.51.100.2/24"),
        ("192.0.2.10/32", "198.51.100.2/32"),
        ("192.0.2.0/26", "198.51.100.0/24"),
        ("Listen 192.0.2.10:80;", "Listen 198.51.100.2:80;"),
        ("tcp:192.0.2.10,x", "tcp:198.51.100.2,x"),
        ("It is 192.0.2.10.", "It is 198.51.100.2."),
        ("192.0.2.63", "198.51.100.255"),
        ("via 192.0.2.1 dev", "via 198.51.100.1 dev"),
        ("2001:db8:aaaa:0000:5054:ff:fe12:3456", "2001:db8:0:4f:a800:ff:fe00:1"),
        ("[2001:DB8:AAAA::5054:FF:FE12:3456]:80", "[2001:db8:0:4f:a800:ff:fe00:1]:80"),
        ("2001:db8:aaaa::/64", "2001:db8:0:4f::/64"),
    ],
)
def test_addresses_are_replaced(old: str, new: str) -> None:
    assert tokens.replaced(old, CHANGE) == new


@pytest.mark.parametrize(
    "text",
    [
        *("192.0.2.100", "1192.0.2.10", "192.0.2.10.5", "5.192.0.2.10", "x192.0.2.10"),
        *("192.0.2.10/26/1", "::ffff:192.0.2.10x", "192.0.2.10.example.org"),
        *("2001:db8:aaaa:0:5054:ff:fe12:3456:1", "52:54:00:12:34:56", "10:30:00", "::", "a::b"),
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert tokens.replaced(text, CHANGE) == text


@given(st.text(string.hexdigits + ".:/- \n"))
def test_nothing_else_is_changed(text: str) -> None:
    known = {old.ip for old in CHANGE.old} | set(CHANGE.old_gateways)
    known |= {edge for old in CHANGE.old for edge in (old.network[0], old.network[-1])}
    if not known & tokens.addresses_in(text):
        assert tokens.replaced(text, CHANGE) == text


def test_mac_addresses() -> None:
    text = "52-54-00-AA-00-01 52:54:00:aa:00:02 52:54:00:aa:00:02:03"
    assert tokens.with_mac(text, "52:54:00:aa:00:01", "aa:00:00:00:00:01") == (
        "aa:00:00:00:00:01 52:54:00:aa:00:02 52:54:00:aa:00:02:03"
    )


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2001:DB8::1:0:0:1",
            "2001:db8:0:0:1:0:0:1",
            "2001:db8:0:0:1::1",
            "[2001:db8::1:0:0:1]:80",
        ),
        *("2001:0db8:0000:0000:0001:0000:0000:0001", "2001:0db8::0001:0000:0000:0001/128"),
    ],
)
def test_all_spellings_of_an_address_are_found(text: str) -> None:
    address = ip_address("2001:db8::1:0:0:1")
    assert tokens.addresses_in(text) == {address}
    assert any(word in text.lower() for word in tokens.spellings(address))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "::ffff:192.0.2.10",
            "::FFFF:192.0.2.10/128",
            "[::ffff:192.0.2.10]:80",
            "::ffff:c000:20a",
        ),
        *("0:0:0:0:0:ffff:192.0.2.10", "::FFFF:C000:020A"),
    ],
)
def test_addresses_of_ipv4_in_ipv6_are_found(text: str) -> None:
    address = ip_address("192.0.2.10")
    assert address in tokens.addresses_in(text)
    assert any(word in text.lower() for word in tokens.spellings(address))
    assert tokens.replaced(text, CHANGE) == text


@given(st.ip_addresses())
def test_spellings_are_of_the_address(address: Address) -> None:
    found = {ip_address(word) for word in tokens.spellings(address)}
    assert address in found
    assert len(found) == (1 if address.version == 6 else 2)
