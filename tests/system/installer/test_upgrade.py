"""Packages of guests whose bootstrap was kept for days."""

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from installer import upgrade
from installer.guest_tree import GuestTree
from tests.system.installer import support
from tests.system.installer.support import Guest, Node, output

STATUS = "var/lib/dpkg/status"


def old_version_of(package: str, node: Node, days: float) -> Path:
    """Gives the node a cache, so old, whose package claims to be of an old version."""
    support.link_cache(node)
    log = node.create().succeeded().log
    (name,) = re.findall(r"(?:cache: |stored as \S+/)(cache-\S+?\.zst)", log)
    cache = node.cache / name
    tree = node.directory / "tree"
    tree.mkdir()
    argv = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--zstd", "-C", tree]
    output(*argv, "-x", "-f", cache)
    status = tree / "var/lib/dpkg/status"
    text = status.read_text()
    status.write_text(
        re.sub(rf"(?sm)(^Package: {package}\n.*?^Version: )[^\n]+", r"\g<1>0.1", text, count=1)
    )
    cache.unlink()  # a link of the shared one
    output(*argv, "-c", "-f", cache, ".")
    shutil.rmtree(tree)
    cache.chmod(0o600)
    then = time.time() - days * 86400
    os.utime(cache, (then, then))
    return cache


def version_of(package: str, guest: Guest) -> str:
    stanza = re.search(rf"(?sm)^Package: {package}\n.*?^Version: ([^\n]+)", guest.read(STATUS))
    assert stanza is not None
    return stanza[1]


def test_packages_of_an_old_cache_are_upgraded(node: Node) -> None:
    node.settings |= {**support.TINY, "UPGRADE": "1"}
    node.disk(support.TINY_DISK)
    cache = old_version_of("hostname", node, days=2.5)
    before = cache.stat()
    with support.guest(node) as made:
        assert re.search(r"1 upgraded, 0 newly installed, 0 to remove", made.outcome.log)
        assert version_of("hostname", made) not in ("", "0.1")
        left = [*made.root.glob("var/lib/apt/lists/*_*"), *made.root.glob("**/*.aside")]
        left += [*made.root.glob("var/cache/apt/archives/*.deb")]
        left += [*made.root.glob("etc/apt/apt.conf.d/*ganeti*"), *made.root.glob("etc/resolv.conf")]
        assert left == []
    # What is kept stays as it is, for the next one.
    after = cache.stat()
    assert (after.st_ino, after.st_size, after.st_mtime) == (
        before.st_ino,
        before.st_size,
        before.st_mtime,
    )
    # No answer of the mirror: the guest is made all the same.
    node.settings["PROXY"] = "http://127.0.0.1:9"
    (node.directory / "root").rmdir()
    with support.guest(node) as made:
        (line,) = [line for line in made.outcome.lines if "not upgraded: " in line]
        assert "packages are 2.5 days old" in line and "127.0.0.1" in line
        assert version_of("hostname", made) == "0.1"
    # A cache that is young enough is not asked about.
    node.settings["UPGRADE"] = "3"
    (node.directory / "root").rmdir()
    with support.guest(node) as made:
        assert "upgrade" not in made.outcome.log


def test_packages_cannot_change_a_mirror_on_the_node(tmp_path: Path) -> None:
    mirror, tree = tmp_path / "mirror", tmp_path / "guest"
    mirror.mkdir()
    tree.mkdir()
    with upgrade._node_directory_in_place(GuestTree(tree), mirror):
        with pytest.raises(OSError, match="Read-only"):
            (tree / str(mirror).lstrip("/") / "new").touch()
        (mirror / "new").touch()  # the site itself can
        assert (tree / str(mirror).lstrip("/") / "new").exists()
    assert not list(tree.iterdir())
