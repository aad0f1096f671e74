from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest import hosts

ADDRESSES = (IPv4Address("198.51.100.20"), IPv6Address("2001:db8::20"))


def canonical(text: str, address: str) -> list[str]:
    return next(line.split()[1:] for line in text.splitlines() if line.split()[0] == address)


def test_static_addresses_carry_the_name_fqdn_first() -> None:
    text = hosts.render("web1.example.org", ADDRESSES)
    assert canonical(text, "198.51.100.20") == ["web1.example.org", "web1"]
    assert canonical(text, "2001:db8::20") == ["web1.example.org", "web1"]
    assert "127.0.1.1" not in text


def test_whole_file() -> None:
    assert hosts.render("web1.example.org", ()) == (
        "127.0.0.1 localhost\n"
        "127.0.1.1 web1.example.org web1\n"
        "::1       localhost ip6-localhost ip6-loopback\n"
        "ff02::1   ip6-allnodes\n"
        "ff02::2   ip6-allrouters\n"
    )


def test_a_name_without_domain_stands_once() -> None:
    assert canonical(hosts.render("web1", ()), "127.0.1.1") == ["web1"]


def test_renamed_changes_whole_words_outside_of_comments() -> None:
    text = (
        "127.0.0.1\tlocalhost\n"
        "198.51.100.20  web1.example.org Web1 # web1 was here\n"
        "198.51.100.21  web1.example.org.uk web10 xweb1\n"
        "# 198.51.100.20 web1\n"
    )
    assert hosts.renamed(text, "web1.example.org", "db2.example.net") == (
        "127.0.0.1\tlocalhost\n"
        "198.51.100.20  db2.example.net db2 # web1 was here\n"
        "198.51.100.21  web1.example.org.uk web10 xweb1\n"
        "# 198.51.100.20 web1\n"
    )


def test_renamed_undoes_render() -> None:
    text = hosts.render("web1.example.org", ADDRESSES)
    assert hosts.renamed(text, "web1.example.org", "a.b.example") == hosts.render(
        "a.b.example", ADDRESSES
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("web", "app.example.org"),
        ("app.example.org", "web"),
        ("web", "app"),
        ("web", "web.example.org"),
        ("web.example.org", "web"),
        ("web.example.org", "web.example.net"),
    ],
)
def test_renamed_gives_what_render_would(old: str, new: str) -> None:
    assert hosts.renamed(hosts.render(old, ADDRESSES), old, new) == hosts.render(new, ADDRESSES)


def test_renamed_leaves_no_name_twice() -> None:
    text = "198.51.100.20 web app # web\n"
    assert (
        hosts.renamed(text, "web", "app.example.org") == "198.51.100.20 app.example.org app # web\n"
    )
    text = "198.51.100.20\tapp.example.org\tapp  \n198.51.100.21 app\n"
    assert hosts.renamed(text, "app.example.org", "web") == (
        "198.51.100.20\tweb  \n198.51.100.21 web\n"
    )


@given(st.text(st.sampled_from("web1.#\n\t localhost"), max_size=60))
def test_renaming_to_the_same_name_changes_nothing(text: str) -> None:
    assert hosts.renamed(text, "web1.localhost", "web1.localhost") == text


LONG = f"{'a' * 40}.{'b' * 30}.example.org"


@pytest.mark.parametrize(
    ("name", "short", "own"),
    [
        ("web1.example.org", False, "web1.example.org"),
        ("web1.example.org", True, "web1"),
        (f"web1.{'b' * 59}", False, f"web1.{'b' * 59}"),
        (f"web1.{'b' * 60}", False, "web1"),
        (LONG, False, "a" * 40),
        ("a" * 64, False, "a" * 64),
    ],
)
def test_a_name_that_linux_would_cut_is_shortened_at_a_dot(
    name: str, short: bool, own: str
) -> None:
    assert hosts.own_name(name, short=short) == own


def test_a_first_part_that_linux_would_cut_is_an_error() -> None:
    with pytest.raises(ValueError, match="65 characters"):
        hosts.own_name("a" * 65)
