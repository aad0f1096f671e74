import pytest

from guest.authorized_keys import parse, render

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGNFEqSd3eRuGkXBXo9UHaThZuSHG4ovr+6yEhmLJafs"
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBH57IfDNFKYHb52qKUFG"
    "QWzvoNSZP6Kt5VhEn/Tbq5FlIhB1xfcAC5H0P2Bx7gWpfcf6HnRk5XHkQP0AYzCGXsY="
)


@pytest.mark.parametrize(
    "line",
    [
        ED25519,
        f"{ED25519} ada@example.org",
        f"{ECDSA} a comment, with blanks",
        f'from="192.0.2.1,198.51.100.0/24",no-pty {ED25519} ada',
        f'command="echo \\"a b\\"",restrict {ED25519}',
        f"cert-authority {ECDSA}",
    ],
)
def test_a_line_stays_as_it_is(line: str) -> None:
    assert parse(line) == (line,)
    assert render(parse(line)) == f"{line}\n"


def test_comments_empty_lines_and_line_ends_go() -> None:
    assert parse(f"# team\r\n\r\n {ED25519} a\r\n\n{ECDSA}\n") == (f"{ED25519} a", ECDSA)
    assert parse("") == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("hello", "is not a public key"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "is not a public key"),
        (f"{ED25519.split()[0]} ", "is not a public key"),
        (f"no-pty, from=x y {ED25519}", "is not a public key"),
        (f'command="unclosed {ED25519}', "is not a public key"),
        (ED25519[:-1], "is cut off: its key is not base64"),
        (ED25519[:-4], "is cut off or damaged"),
        (f"{ED25519}AAAA", "is cut off or damaged"),
        (ED25519.replace("ssh-ed25519", "ssh-rsa"), "is damaged: its key is not of the type"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "is a private key"),
        (f"{ED25519} \x1b[31mred", "has control characters"),
    ],
)
def test_what_is_no_key(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^line 2 {why}") as caught:
        parse(f"{ED25519}\n{line}")
    # It may be a secret.
    assert line not in str(caught.value)
