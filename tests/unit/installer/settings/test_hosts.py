import pytest

from installer.settings.hosts import is_inner


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "x.localhost", "localhost.localdomain", "ip6-loopback"),
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "0"),
        *("169.254.169.254", "::1", "::", "fe80::1", "fe80::1%eth0", "::ffff:127.0.0.1"),
        "::ffff:169.254.169.254",
    ],
)
def test_the_node_and_its_link(host: str) -> None:
    assert is_inner(host)


@pytest.mark.parametrize(
    "host",
    ["deb.example.org", "localhost.example.org", "192.0.2.1", "10.0.0.1", "2001:db8::1", "128.1"],
)
def test_other_hosts(host: str) -> None:
    assert not is_inner(host)
