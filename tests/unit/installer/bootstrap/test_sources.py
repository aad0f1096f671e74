from pathlib import Path

import pytest

from installer.bootstrap.sources import (
    Entry,
    Mirrors,
    archives,
    distribution,
    node_entries,
    parse_deb822,
    parse_one_line,
    render,
    resolve,
    security_suite,
    suite_problem,
)

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
    return resolve(
        suite, family, mirror=mirror, security_mirror=security, entries=entries, families=FAMILIES
    )


def deb(uri: str, suite: str = "bookworm", *components: str, signed_by: str = "") -> Entry:
    return Entry("deb", uri, suite, components or ("main",), signed_by)


def test_one_line_entries() -> None:
    text = """
# deb http://commented.example.org/debian bookworm main
deb http://mirror.example.org/debian bookworm main contrib # a comment
deb-src http://mirror.example.org/debian bookworm main
deb [ arch=amd64 signed-by=/k.gpg ] https://third.example.org/apt stable main
deb http://flat.example.org/ ./
nonsense
"""
    assert parse_one_line(text) == [
        deb(DEBIAN, "bookworm", "main", "contrib"),
        Entry("deb-src", DEBIAN, "bookworm", ("main",)),
        deb("https://third.example.org/apt", "stable", "main", signed_by="/k.gpg"),
        Entry("deb", "http://flat.example.org/", "./", ()),
    ]


def test_deb822_entries() -> None:
    text = """# first stanza
Types: deb deb-src
URIs: http://mirror.example.org/debian
Suites: bookworm
 bookworm-updates
# a comment inside
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://disabled.example.org/debian
Suites: bookworm
Components: main
"""
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert [(entry.type, entry.suite) for entry in parse_deb822(text)] == [
        ("deb", "bookworm"),
        ("deb", "bookworm-updates"),
        ("deb-src", "bookworm"),
        ("deb-src", "bookworm-updates"),
    ]
    assert {entry.signed_by for entry in parse_deb822(text)} == {key}


@pytest.mark.parametrize(
    ("suite", "script", "mirror", "expected"),
    [
        ("bookworm", None, None, "debian"),
        ("duke", None, None, "debian"),
        ("jammy", "gutsy", None, "ubuntu"),
        ("hirsute", "gutsy", None, "ubuntu"),
        # The debootstrap of Debian 12 knows no suite after lunar.
        ("noble", None, "http://mirror.example.org/apt", "ubuntu"),
        ("kali-rolling", "kali", None, "kali"),
        ("ascii", "sid", None, ""),
        ("zany", None, "http://mirror.example.org/ubuntu/", "ubuntu"),
        ("zany", None, "http://mirror.example.org/apt", ""),
    ],
)
def test_distribution(
    suite: str, script: str | None, mirror: str | None, expected: str, tmp_path: Path
) -> None:
    if script:
        (tmp_path / script).touch()
        if script != suite:
            (tmp_path / suite).symlink_to(script)
    assert distribution(suite, mirror, tmp_path) == expected


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


def test_rendered_sources() -> None:
    mirrors = Mirrors(DEBIAN, SECURITY, "settings")
    assert render("bookworm", archives("bookworm", "debian", mirrors), ("main", "contrib")) == (
        f"deb {DEBIAN} bookworm main contrib\n"
        f"deb {DEBIAN} bookworm-updates main contrib\n"
        f"deb {SECURITY} bookworm-security main contrib\n"
    )
    assert (
        render("sid", archives("sid", "debian", mirrors), ("main",)) == f"deb {DEBIAN} sid main\n"
    )


def test_rendered_sources_of_old_releases() -> None:
    mirrors = Mirrors(DEBIAN, SECURITY, "settings")
    text = render("buster", archives("buster", "debian", mirrors), ("main",), Path("/k.gpg"))
    assert text.splitlines()[2] == (
        f"deb [signed-by=/k.gpg check-valid-until=no] {SECURITY} buster/updates main"
    )


def test_archives_that_are_not_known_are_left_out() -> None:
    assert archives("bookworm", "debian", Mirrors(None, SECURITY, "the engine")) == [
        (SECURITY, "bookworm-security")
    ]
    assert archives("x", "", Mirrors(DEBIAN, SECURITY, "settings")) == [(DEBIAN, "x")]


@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("buster", "buster/updates"),
        ("bullseye", "bullseye-security"),
        ("forky", "forky-security"),
        ("sid", None),
    ],
)
def test_security_suite(suite: str, expected: str | None) -> None:
    assert security_suite(suite, "debian") == expected


def test_releases_at_their_end_of_life_need_a_mirror() -> None:
    problem = suite_problem("buster", "")
    assert problem is not None and "end of life" in problem and "set MIRROR" in problem
    assert suite_problem("buster", DEBIAN) is None
    assert suite_problem("bullseye", "") is None


def test_the_node_may_use_aliases() -> None:
    assert distribution("unstable") == distribution("stable") == "debian"
    assert node(deb(DEBIAN, "stable")).main == DEBIAN


def test_the_nodes_files(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    listed = tmp_path / "mirrors"
    listed.write_text("# mirrors\nhttp://first.example.org/debian priority:1\n")
    (tmp_path / "sources.list").write_text(f"deb {DEBIAN} bookworm main\n")
    (parts / "b.sources").write_text(
        f"Types: deb\nURIs: mirror+file://{listed}\nSuites: bookworm\nComponents: main\n"
    )
    (parts / "c.list.save").write_text("deb http://saved.example.org/debian bookworm main\n")
    assert node_entries(tmp_path) == [deb(DEBIAN), deb("http://first.example.org/debian")]
    assert node_entries(tmp_path / "nothing") == []
