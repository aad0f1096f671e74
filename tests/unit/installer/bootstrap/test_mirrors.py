import pytest

from installer.bootstrap.apt_sources import Entry
from installer.bootstrap.mirrors import Mirrors, archives, choose
from installer.releases import distribution

DEBIAN = "http://mirror.example.org/debian"
SECURITY = "http://security.example.org/debian-security"
FAMILIES = {"bookworm": "debian", "stable": "debian", "jammy": "ubuntu", "bookworm-updates": ""}


def node(
    *entries: Entry,
    suite: str = "bookworm",
    family: str = "debian",
    mirror: str = "",
    security: str = "",
) -> Mirrors:
    return choose(
        suite, family, mirror=mirror, security_mirror=security, entries=entries, families=FAMILIES
    )


def deb(uri: str, suite: str = "bookworm", *components: str, signed_by: str = "") -> Entry:
    return Entry("deb", uri, suite, components or ("main",), signed_by)


def test_the_settings_win_and_name_their_security_sibling() -> None:
    entries = (deb("http://node.example.org/debian"),)
    assert node(*entries, mirror=DEBIAN) == Mirrors(DEBIAN, DEBIAN + "-security", "settings")
    assert node(*entries, mirror=DEBIAN, security=SECURITY).security == SECURITY
    assert node(*entries, mirror="http://mirror.example.org/apt").security is None


def test_the_nodes_security_mirror_goes_before_a_guessed_one() -> None:
    entries = (deb(SECURITY, "bookworm-security"),)
    assert node(*entries, mirror=DEBIAN).security == SECURITY


def test_the_security_mirror_of_an_old_suite_is_beside_its_mirror() -> None:
    entries = (deb(SECURITY, "bookworm-security"),)
    old = node(*entries, suite="buster", mirror=DEBIAN + "/")
    assert old.security == DEBIAN + "-security"
    assert node(*entries, suite="buster", mirror=DEBIAN, security=SECURITY).security == SECURITY


def test_the_nodes_own_sources() -> None:
    entries = (deb(DEBIAN + "/"), deb(SECURITY, "bookworm-security"))
    assert node(*entries) == Mirrors(DEBIAN, SECURITY, "the node's apt sources")


def test_ubuntu_has_its_security_updates_on_the_same_mirror() -> None:
    mirror = "http://mirror.example.org/ubuntu"
    assert node(mirror=mirror, family="ubuntu").security == mirror
    found = node(deb(mirror, "jammy"), family="ubuntu")
    assert (found.main, found.security) == (mirror, mirror)


def test_debians_sources_do_not_serve_ubuntu() -> None:
    assert node(deb(DEBIAN), family="ubuntu").main is None


@pytest.mark.parametrize(
    "entry",
    [
        deb("https://third.example.org/apt", "stable"),
        deb("https://third.example.org/debian", "stable", signed_by="/usr/share/keyrings/x.gpg"),
        deb("https://third.example.org/linux/debian", "bookworm", "stable"),
        deb("http://user:secret@mirror.example.org/debian"),
        deb("http://localhost:3142/debian"),
        deb("http://127.0.0.1:3142/debian"),
        deb("cdrom:[Debian]/debian"),
        Entry("deb-src", DEBIAN, "bookworm", ("main",)),
    ],
)
def test_not_for_guests(entry: Entry) -> None:
    assert node(entry) == Mirrors(None, None, "the engine")


def test_an_archive_is_preferred_to_third_parties() -> None:
    third = deb("https://third.example.org/debian", "bookworm")
    archive = "http://snapshot.example.org/20250101"
    entries = (third, deb(archive), deb(archive, "bookworm-updates"))
    assert node(*entries).main == archive


def test_archives_that_are_not_known_are_left_out() -> None:
    assert archives("bookworm", "debian", Mirrors(None, SECURITY, "the engine")) == [
        (SECURITY, "bookworm-security")
    ]
    assert archives("x", "", Mirrors(DEBIAN, SECURITY, "settings")) == [(DEBIAN, "x")]


def test_the_node_may_use_aliases() -> None:
    assert distribution("unstable") == distribution("stable") == "debian"
    assert node(deb(DEBIAN, "stable")).main == DEBIAN
