import pytest

from tests.e2e.scrape import parse

FINGERPRINT = "SHA256:nHGB41JOQicvyvWWYDyNMsRr6dJG1oO0Agc3tNXCrV4"
LINES = [
    "configured eth0 with 198.51.100.2/24",
    "configured eth0 with 2001:db8:0:4f:a800:ff:fe42:c0b8/64",
    f"3072 {FINGERPRINT} root@web1.example.org (RSA)",
    "root password: QGCUzjAiN5N2KhCpSbD83bfW",
]


def test_facts_of_an_instance() -> None:
    facts = parse(LINES)
    assert facts.password == "QGCUzjAiN5N2KhCpSbD83bfW"
    assert facts.hosts == ("198.51.100.2", "2001:db8:0:4f:a800:ff:fe42:c0b8")
    assert facts.fingerprints == {FINGERPRINT}


@pytest.mark.parametrize(
    "line",
    [
        "hook password set the root password",
        "configured eth0 with DHCP",
        "SHA256 sum of the cache is right",
        "root password: short",
        f"root password: QGCUzjAiN5N2KhCpSbD83bfW {FINGERPRINT}",
    ],
)
def test_any_other_line_is_refused(line: str) -> None:
    with pytest.raises(AssertionError, match="none of its three"):
        parse([*LINES, line])


def test_two_passwords_are_refused() -> None:
    with pytest.raises(AssertionError, match="2 passwords"):
        parse([*LINES, LINES[-1]])
