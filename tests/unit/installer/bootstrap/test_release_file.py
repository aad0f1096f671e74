"""The fields of Release files, as Debian and others write them."""

from datetime import UTC, datetime

import pytest

from installer.bootstrap.release_file import parse

BODY = """\
Origin: Debian
Suite: stable
Codename: bookworm
Date: Sat, 06 Sep 2025 10:45:02 UTC
Valid-Until: Sat, 13 Sep 2025 10:45:02 UTC
Architectures: all amd64 arm64
Components: main contrib non-free
Description: Debian 12
 Origin: Nobody
SHA256:
 0123 45 main/binary-amd64/Packages
"""
INRELEASE = (
    "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
    f"{BODY}-----BEGIN PGP SIGNATURE-----\nOrigin: Nobody\n"
    "-----END PGP SIGNATURE-----\nOrigin: Nobody\n"
)


@pytest.mark.parametrize("text", [BODY, INRELEASE])
def test_only_what_is_signed_counts(text: str) -> None:
    release = parse(text.encode())
    assert (release.origin, release.fields["codename"]) == ("Debian", "bookworm")
    assert "Nobody\n-" not in release.text


def test_components_are_known_by_both_names() -> None:
    release = parse(b"Components: updates/main updates/contrib\n")
    assert release.lacking(("main", "updates/contrib", "non-free")) == ("non-free",)
    assert parse(b"Suite: x\n").lacking(("main",)) == ()


def test_architectures() -> None:
    release = parse(BODY.encode())
    assert release.has_architecture("arm64") and not release.has_architecture("riscv64")
    # Some archives forget to name them, and yet have them.
    assert parse(
        b"Architectures: all\nSHA256:\n 01 2 main/binary-i386/Packages\n"
    ).has_architecture("i386")
    assert parse(b"").has_architecture("amd64")


@pytest.mark.parametrize(
    ("now", "is_expired", "is_early"),
    [
        (datetime(2025, 9, 6, 10, 44, 40, tzinfo=UTC), False, True),
        (datetime(2025, 9, 6, 10, 44, 55, tzinfo=UTC), False, False),  # apt allows ten seconds
        (datetime(2025, 9, 13, 10, 45, 2, tzinfo=UTC), False, False),
        (datetime(2025, 9, 13, 10, 45, 3, tzinfo=UTC), True, False),
    ],
)
def test_times(now: datetime, is_expired: bool, is_early: bool) -> None:
    release = parse(BODY.encode())
    assert (release.expired(now) is not None, release.from_the_future(now) is not None) == (
        is_expired,
        is_early,
    )


@pytest.mark.parametrize("text", [b"", b"Date: soon\nValid-Until: never\n", b":\n\xff: x\n"])
def test_without_times_an_index_counts_for_ever(text: bytes) -> None:
    now = datetime(2025, 9, 6, tzinfo=UTC)
    assert parse(text).expired(now) is None and parse(text).from_the_future(now) is None
