"""Packages that make keys and identities: two guests of one bootstrap share none."""

import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from installer.bootstrap import cache
from installer.bootstrap.per_guest import identities
from installer.bootstrap.per_guest.remake import RECORD, remake, separate
from installer.bootstrap.per_guest.unpackaged import INFO, made_by_scripts
from installer.guest_tree import GuestTree, chroot
from tests.system.installer import support
from tests.system.installer.support import CACHE, Node, output

PACKAGES = "dropbear,bind9,munge,open-iscsi,popularity-contest,nvme-cli"
MADE = {
    *(f"etc/dropbear/dropbear_{kind}_host_key" for kind in ("rsa", "ecdsa", "ed25519")),
    *("etc/bind/rndc.key", "etc/munge/munge.key", "etc/iscsi/initiatorname.iscsi"),
    *("etc/popularity-contest.conf", "etc/nvme/hostnqn", "etc/nvme/hostid"),
}


def found(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Mode, owner and content of what looks like a key or an identity."""
    return {
        path: (mode, (root / path).stat().st_uid, (root / path).stat().st_gid, data)
        for path, mode, data in made_by_scripts(root)
        if identities.find_identity(path, mode, data)
    }


def test_two_guests_of_a_bootstrap_share_no_key_or_identity(
    new_node: Callable[[], Node], tmp_path: Path
) -> None:
    guests = []
    for _ in range(2):
        node = new_node()
        node.settings |= {**support.TINY, "EXTRA_PKGS": PACKAGES}
        node.disk(support.TINY_DISK)
        with support.guest(node) as guest:
            guests.append(found(guest.root))
            assert not (guest.root / RECORD).exists()
            assert not list(guest.root.glob("etc/**/*.set-aside*"))
            log = guest.outcome.log
    assert "made by mmdebstrap" in log  # the second one comes from the cache
    one, other = guests
    assert {*one} == {*other} and {*one} >= MADE
    for path in one:
        assert one[path][:3] == other[path][:3]  # mode and owner
        assert one[path][3] != other[path][3], path
    assert one["etc/munge/munge.key"][0] == 0o600 and one["etc/munge/munge.key"][1] != 0
    assert one["etc/bind/rndc.key"][0] == 0o640
    # And the cache itself has none.
    name = next(line.split()[1] for line in log.splitlines() if "cache: cache-" in line)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(cache.extract_argv(str(CACHE / name.rstrip(",")), unpacked), check=True)
    assert found(unpacked) == {}


@pytest.fixture
def tree(node: Node, tmp_path: Path) -> Path:
    """A small guest, unpacked from the cache that the tests of creates share."""
    node.settings |= support.TINY
    node.disk(support.TINY_DISK)
    log = node.create().succeeded().log
    # It names the cache that was there, or the path of the one that it has made.
    found = re.search(r"cache-bookworm[^\s,/]*\.tar\.zst", log)
    assert found is not None, log
    root = tmp_path / "tree"
    root.mkdir()
    subprocess.run(cache.extract_argv(str(CACHE / found[0]), root), check=True)
    return root


def install(root: Path, package: str, script: str) -> None:
    """Pretends that a package was installed, whose postinst is this."""
    postinst = root / INFO / f"{package}.postinst"
    postinst.write_text(f"#!/bin/sh\nset -e\n{script}\n")
    postinst.chmod(0o755)
    (root / INFO / f"{package}.list").write_text(f"/etc/{package}\n")
    (root / "etc" / package).mkdir()
    output("chroot", root, f"/{INFO}/{package}.postinst", "configure", "")


def test_what_packages_make_again_and_what_they_do_not(tree: Path) -> None:
    random = "head -c 32 /dev/urandom"
    install(
        tree,
        "again",
        f"[ -e /etc/again/key ] || (umask 077; {random} >/etc/again/key)"
        "; chown games /etc/again/key",
    )
    install(
        tree,
        "once",
        f"[ -e /etc/once/made ] || {{ {random} >/etc/once/secret.key; >/etc/once/made; }}",
    )
    install(
        tree,
        "fails",
        f"[ ! -e /etc/fails/made ]; {random} >/etc/fails/secret.key; >/etc/fails/made",
    )
    # A database: what is made again does not go with what is not.
    install(
        tree,
        "partly",
        f"{random} >/etc/partly/one.key"
        f"; [ -e /etc/partly/made ] || {{ {random} >/etc/partly/two.key; >/etc/partly/made; }}",
    )
    # A certificate is public, and goes with its key.
    install(
        tree,
        "certified",
        f"{random} >/etc/certified/one.key; md5sum </etc/certified/one.key >/etc/certified/crt.md5"
        f"; cut -c1-8 /etc/certified/crt.md5 >/etc/certified/crt; rm /etc/certified/crt.md5"
        f"; [ -e /etc/certified/made ] || {{ {random} >/etc/certified/two.key"
        "; >/etc/certified/made; }",
    )
    certificate = (tree / "etc/certified/crt").read_text()
    many = "for n in $(seq 33); do head -c 32 /dev/urandom >/etc/many/$n.key; done"
    install(tree, "many", many)
    install(tree, "constant", "echo token=0a1B2c3D4e5F6g7H8i9J >/etc/constant/conf")
    before = {path: (tree / path).read_bytes() for path in found(tree)}
    spared = {
        *("etc/once/secret.key", "etc/fails/secret.key", "etc/partly/one.key"),
        *("etc/certified/one.key", "etc/certified/two.key"),
        *("etc/partly/two.key", *(f"etc/many/{number}.key" for number in range(1, 34))),
    }
    assert {*before} == {"etc/again/key", "etc/constant/conf", *spared}
    (tree / "boot/initrd.img-6.1.0-1-amd64").write_bytes(b"no archive: it may hold anything")
    left = support.apart(lambda: separate(GuestTree(tree)))
    why = "binary data that looks like a key"
    assert left == tuple(f"/{path} ({why})" for path in sorted(spared))
    assert (tree / "etc/certified/crt").read_text() == certificate
    assert not (tree / "etc/again/key").exists()
    assert not (tree / "boot/initrd.img-6.1.0-1-amd64").exists()
    for path in ("etc/constant/conf", *spared):
        assert (tree / path).read_bytes() == before[path]
    assert stat.S_IMODE((tree / RECORD).stat().st_mode) == 0o600

    def remade() -> bool:
        target = GuestTree(tree)
        with chroot(target, ()):
            return remake(target)

    assert support.apart(remade)
    key = tree / "etc/again/key"
    assert key.read_bytes() != before["etc/again/key"]
    assert (stat.S_IMODE(key.stat().st_mode), key.stat().st_uid) == (0o600, 5)
    assert not (tree / RECORD).exists()
    assert not os.path.lexists(tree / "usr/sbin/policy-rc.d")
