from pathlib import Path

from installer.bootstrap.apt_sources import (
    Entry,
    parse_deb822,
    parse_one_line,
    read_node_entries,
    render_sources_list,
)
from installer.bootstrap.mirrors import Mirrors, archives

DEBIAN = "http://mirror.example.org/debian"
SECURITY = "http://security.example.org/debian-security"


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


def test_rendered_sources() -> None:
    mirrors = Mirrors(DEBIAN, SECURITY, "settings")
    assert render_sources_list(
        "bookworm", archives("bookworm", "debian", mirrors), ("main", "contrib")
    ) == (
        f"deb {DEBIAN} bookworm main contrib\n"
        f"deb {DEBIAN} bookworm-updates main contrib\n"
        f"deb {SECURITY} bookworm-security main contrib\n"
    )
    assert (
        render_sources_list("sid", archives("sid", "debian", mirrors), ("main",))
        == f"deb {DEBIAN} sid main\n"
    )


def test_rendered_sources_of_old_releases() -> None:
    mirrors = Mirrors(DEBIAN, SECURITY, "settings")
    text = render_sources_list(
        "buster", archives("buster", "debian", mirrors), ("main",), Path("/k.gpg")
    )
    assert text.splitlines()[2] == (
        f"deb [signed-by=/k.gpg check-valid-until=no] {SECURITY} buster/updates main"
    )


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
    assert read_node_entries(tmp_path) == [deb(DEBIAN), deb("http://first.example.org/debian")]
    assert read_node_entries(tmp_path / "nothing") == []
