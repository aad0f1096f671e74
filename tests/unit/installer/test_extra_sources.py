import os
from pathlib import Path

import pytest

from installer.extra_sources import read
from installer.guest_tree import GuestTree
from installer.hooks.apt import HookApt
from installer.inputs import NodeFacts
from node.errors import KitError
from tests.unit.installer.hooks.test_hooks import NODE, context

SITE = "Types: deb\nURIs: http://apt.example.org/\nSuites: stable\nComponents: main\n"
INLINE = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n /mDMEYC\n -----END\n"
KEYRING = "/usr/share/keyrings/site.gpg"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "usr/share/keyrings").mkdir(parents=True)
    (tmp_path / KEYRING.lstrip("/")).write_bytes(b"\x99\x01")
    return tmp_path


def put(root: Path, name: str, text: str | bytes) -> str:
    path = root / "site" / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"/site/{name}"


@pytest.mark.parametrize(
    ("text", "keyrings"),
    [
        (SITE, ()),
        (SITE + INLINE, ()),
        (f"{SITE}Signed-By: {KEYRING}\n", ((KEYRING, b"\x99\x01"),)),
        (f"{SITE}Signed-By: {KEYRING}\n\n{SITE}signed-by: {KEYRING}\n", ((KEYRING, b"\x99\x01"),)),
    ],
)
def test_a_file_is_read_with_the_keyrings_that_it_names(
    root: Path, text: str, keyrings: tuple[tuple[str, bytes], ...]
) -> None:
    (file,) = read([put(root, "a.sources", text)], root)
    assert (file.name, file.text, file.keyrings) == ("a.sources", text, keyrings)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("deb http://apt.example.org stable main\n", "no stanza"),
        (SITE.replace("Suites: stable\n", ""), "no stanza"),
        (SITE.replace("apt.", "user:secret@apt."), "holds a password"),
        (f"{SITE}\nEnabled: no\n{SITE.replace('apt.', 'me:secret@apt.')}", "holds a password"),
        (f"#URIs: http://me:secret@apt.example.org/\n{SITE}", "holds a password"),
        (f"{SITE}Signed-By: /usr/share/keyrings/other.gpg\n", "other.gpg.*No such file"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_what_is_no_source_is_an_error(root: Path, text: str | bytes, why: str) -> None:
    with pytest.raises(KitError, match=why) as caught:
        read([put(root, "a.sources", text)], root)
    assert "/site/a.sources" in caught.value.message and caught.value.hint
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("place", ["site/a.sources", KEYRING.lstrip("/")])
def test_a_fifo_is_not_waited_for(root: Path, place: str) -> None:
    put(root, "a.sources", f"{SITE}Signed-By: {KEYRING}\n")
    (root / place).unlink()
    os.mkfifo(root / place)
    with pytest.raises(KitError, match="a FIFO, not a file"):
        read(["/site/a.sources"], root)


def test_a_missing_file_and_two_of_a_name_are_errors(root: Path) -> None:
    with pytest.raises(KitError, match=r"/site/b\.sources: No such file"):
        read(["/site/b.sources"], root)
    path = put(root, "a.sources", SITE)
    with pytest.raises(KitError, match=r"two files are called a\.sources"):
        read([path, path], root)


def facts(root: Path, *paths: str) -> NodeFacts:
    return NodeFacts(**{**vars(NODE), "extra_sources": read(paths, root)})


def test_the_guest_keeps_proxy_sources_and_keyrings(root: Path, tmp_path: Path) -> None:
    made = context(guest_proxy="http://proxy.example.org:3128")
    path = put(root, "a.sources", f"{SITE}Signed-By: {KEYRING}\n")
    made = type(made)(made.instance, made.settings, made.layout, facts(root, path))
    target = GuestTree(tmp_path / "guest")
    HookApt().apply(made, target)
    assert target.read("etc/apt/sources.list.d/a.sources").startswith("Types: deb\n")
    assert target.path(KEYRING.lstrip("/")).read_bytes() == b"\x99\x01"
    (conf,) = target.path("etc/apt/apt.conf.d").iterdir()
    assert conf.read_text() == (
        'Acquire::http::Proxy "http://proxy.example.org:3128";\n'
        'Acquire::https::Proxy "http://proxy.example.org:3128";\n'
    )


def test_a_keyring_of_the_guests_own_stays(root: Path, tmp_path: Path) -> None:
    made = context()
    path = put(root, "a.sources", f"{SITE}Signed-By: {KEYRING}\n")
    made = type(made)(made.instance, made.settings, made.layout, facts(root, path))
    target = GuestTree(tmp_path / "guest")
    target.write(KEYRING.lstrip("/"), b"newer")
    HookApt().apply(made, target)
    assert target.path(KEYRING.lstrip("/")).read_bytes() == b"newer"


def test_without_either_there_is_no_hook() -> None:
    assert not HookApt().enabled(context())
    assert HookApt().enabled(context(guest_proxy="http://proxy.example.org"))
