from hypothesis import given
from hypothesis import strategies as st

from guest.resolv import Resolver, parse, render, without_loopback


def test_parse() -> None:
    text = (
        "# made by hand\n"
        "domain first.example\n"
        "search example.org  example.net\n"
        "nameserver 192.0.2.53\n"
        "  nameserver\t2001:db8::53 ; the second\n"
        "nameserver fe80::1%eth0\n"
        "nameserver nonsense\n"
        "#nameserver 192.0.2.54\n"
        "nameserver\n"
        "options edns0\n"
    )
    assert parse(text) == Resolver(
        ("192.0.2.53", "2001:db8::53", "fe80::1%eth0"), ("example.org", "example.net")
    )


def test_the_last_of_domain_and_search_wins() -> None:
    assert parse("search a.example b.example\ndomain c.example\n").search == ("c.example",)


def test_without_loopback() -> None:
    local = ("127.0.0.53", "127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "fe80::1%eth0")
    resolver = Resolver((*local, "192.0.2.53", "2001:db8::53"), ("example.org",))
    assert without_loopback(resolver) == Resolver(("192.0.2.53", "2001:db8::53"), ("example.org",))


def test_render() -> None:
    resolver = Resolver(("192.0.2.53", "2001:db8::53"), ("example.org", "example.net"))
    assert render(resolver) == (
        "search example.org example.net\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"
    )
    assert render(Resolver((), ())) == ""


@given(
    st.lists(st.ip_addresses().map(str)).map(tuple),
    st.lists(st.from_regex(r"[a-z]{1,9}\.example", fullmatch=True)).map(tuple),
)
def test_what_is_rendered_is_what_is_parsed(
    nameservers: tuple[str, ...], search: tuple[str, ...]
) -> None:
    resolver = Resolver(nameservers, search)
    assert parse(render(resolver)) == resolver


@given(st.text())
def test_any_text_parses_to_what_renders_again(text: str) -> None:
    resolver = parse(text)
    assert parse(render(resolver)) == resolver
    without_loopback(resolver)
