"""What a mirror may answer, seen by a create that has no cache: the disks stay as they were."""

from pathlib import Path

import pytest

from installer.bootstrap import mirrors
from installer.bootstrap.archive import Asker
from installer.bootstrap.mirror_check import signature_problem
from tests.system.installer import support
from tests.system.installer.mirror_server import answering
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import Node, output


@pytest.fixture
def tiny(node: Node) -> Node:
    node.settings |= support.TINY
    node.settings["CACHE_DIR"] = str(node.cache)
    node.disk(support.TINY_DISK)
    return node


def upstream(path: str) -> bytes | None:
    """A file of the node's own mirror, below the main archive."""
    mirror = mirrors.choose_on_this_node("bookworm", None, None).main
    assert mirror is not None
    return Asker(None, lambda *_: None, public_only=())._fetch(mirror + path)


def refused(node: Node, *words: str) -> None:
    before = support.held(node)
    node.create().failed(*words)
    support.nothing_is_held(node, but=before)
    assert node.disks[0][0].stat().st_blocks == 0
    assert not list(node.cache.iterdir())


def test_a_login_page(tiny: Node) -> None:
    with answering(lambda _path: (200, b"<html>Please log in</html>")) as url:
        tiny.settings["MIRROR"] = f"{url}/debian"
        refused(tiny, f"{url}/debian/dists/bookworm/InRelease", "not a signed index")


def test_an_index_that_somebody_altered(tiny: Node) -> None:
    index = upstream("/dists/bookworm/InRelease")
    assert index is not None
    altered = index.replace(b"\nOrigin: Debian", b"\nOrigin: Nobody", 1)
    assert altered != index
    with answering(lambda _path: (200, altered)) as url:
        tiny.settings["MIRROR"] = f"{url}/debian"
        refused(tiny, "dists/bookworm/InRelease", "a signature is wrong")


def test_an_index_signed_by_another_key(tiny: Node, tmp_path: Path) -> None:
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode=loopback"]
    try:
        output(*gpg, "--passphrase=", "--quick-gen-key", "Nobody <x@example.org>", "ed25519")
        (tmp_path / "Release").write_text("Suite: bookworm\n")
        output(*gpg, "--clearsign", "--output", tmp_path / "InRelease", tmp_path / "Release")
    finally:
        output("gpgconf", "--homedir", home, "--kill", "all")
    index = (tmp_path / "InRelease").read_bytes()
    with answering(lambda _path: (200, index)) as url:
        tiny.settings["MIRROR"] = f"{url}/debian"
        refused(tiny, "signed by the key", "which is not in /usr/share/keyrings/")


def test_an_index_signed_by_an_expired_key(tmp_path: Path) -> None:
    home, keyring = tmp_path / "gnupg", tmp_path / "keyring.gpg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", f"--homedir={home}", "--batch", "--quiet", "--pinentry-mode=loopback"]
    gpg += ["--faked-system-time=20200101T000000!"]
    key = ("Old <x@example.org>", "ed25519", "default", "10d")
    try:
        output(*gpg, "--passphrase=", "--quick-gen-key", *key)
        (tmp_path / "Release").write_text("Suite: bookworm\n")
        output(*gpg, "--clearsign", "--output", tmp_path / "InRelease", tmp_path / "Release")
        output(*gpg, "--output", keyring, "--export")
    finally:
        output("gpgconf", "--homedir", home, "--kill", "all")
    index = (tmp_path / "InRelease").read_bytes()
    assert signature_problem([keyring], "debootstrap", index, None) is None
    problem = signature_problem([keyring], "mmdebstrap", index, None)
    assert problem is not None and "which has expired" in problem


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, ("dists/bookworm-security/", "refuses access: HTTP status 403")),
        (404, ("suite bookworm-security", "no security updates")),
    ],
)
def test_no_security_updates(tiny: Node, status: int, words: tuple[str, ...]) -> None:
    index = upstream("/dists/bookworm/InRelease")
    assert index is not None

    def answer(path: str) -> tuple[int, bytes]:
        return (status, b"") if "security" in path else (200, index)

    with answering(answer) as url:
        tiny.settings |= {"MIRROR": f"{url}/debian", "SECURITY_MIRROR": f"{url}/debian-security"}
        refused(tiny, *words)


def test_an_alias_of_debian_on_a_mirror_that_is_not_debians(tiny: Node, stub: StubSuite) -> None:
    cache = tiny.settings["CACHE_DIR"]
    tiny.settings |= {**stub.settings(), "CACHE_DIR": cache}
    tiny.parameters["suite"] = "stable"  # the variant's is bookworm
    refused(tiny, "stable", "of Debian", f"the mirror file://{stub.archive}")


def test_a_parameter_that_names_the_node_itself(tiny: Node) -> None:
    tiny.parameters["mirror"] = "http://127.0.0.1:8108/admin/"
    refused(tiny, "-O mirror=http://127.0.0.1:8108/admin/", "this node or on its link")
