"""A suite of a few MiB, for creates whose guest's content does not matter.

It is an archive as Debian's are: signed, with an essential package that brings a shell and dpkg,
which are the node's own, and one that apt installs in the guest. The engine bootstraps it within
seconds. The kit knows nothing of it: it is called bookworm, and comes from another MIRROR.
"""

import functools
import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.system.converter.support import MIB, noise, output

SUITE = "bookworm"
LARGE = 680 * MIB
FORMAT = "kit-test-stub"  # what the package stub-formats registers
_BLOCK = noise(MIB // 16, 1) * 16
SUITES = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
# What dpkg, its maintainer scripts and the site hooks of tests run in the guest.
PROGRAMS = (
    *("bash", "cat", "chmod", "dash", "env", "ls", "mkdir", "mount", "rm", "sleep", "tar", "true"),
    *("dpkg", "dpkg-deb", "dpkg-query", "dpkg-split"),
    *("diff", "ldconfig", "start-stop-daemon"),  # dpkg wants to see them
)
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
DIRECTORIES = (
    "dev",
    "etc",
    "mnt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/sbin",
    "var/lib",
)
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n_apt:x:42:65534::/nonexistent:/bin/false\n",
    "etc/shadow": "root:*:19700:0:99999:7:::\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}


@dataclass(frozen=True)
class StubSuite:
    """The archive and its key."""

    directory: Path

    @property
    def archive(self) -> Path:
        return self.directory / "debian"

    @property
    def cache(self) -> Path:
        """The cache directory of the creates that take the suite."""
        return self.directory / "cache"

    def settings(self, mirror: str | None = None) -> dict[str, str]:
        """The site's settings with which creates take the suite, by default from the directory."""
        mirror = mirror or f"file://{self.archive}"
        return {
            "MIRROR": mirror,
            "SECURITY_MIRROR": mirror,
            "KEYRING": str(self.directory / "keyring.gpg"),
            "CACHE_DIR": str(self.cache),
        }


def make(directory: Path) -> StubSuite:
    """Makes the archive in an empty directory."""
    suite = StubSuite(directory)
    suite.cache.mkdir(mode=0o700)
    pool = suite.archive / "pool"
    pool.mkdir(parents=True)
    stanzas = [
        _package(pool, "stub-base", _base, "Essential: yes\nPriority: required"),
        _package(pool, "stub-doc", _doc, "Priority: important"),
        _package(pool, "stub-large", _large, "Priority: optional"),
        _package(pool, "stub-formats", _formats, "Priority: optional"),
        _package(pool, "xfsprogs", _doc, "Priority: optional"),  # the kit wants it for XFS
        _package(pool, "apt", _doc, "Priority: important"),  # mmdebstrap 1.5 asks for it by name
        # apt finds out that there is no room for it before it fetches it.
        "Package: stub-vast\nVersion: 1\nArchitecture: all\nMaintainer: none\n"
        f"Priority: optional\nFilename: pool/stub-vast.deb\nSize: {600 * MIB}\n"
        f"SHA256: {'0' * 64}\nDescription: not there\n",
    ]
    home = directory / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", "")
    try:
        output(*gpg, "--quick-gen-key", "stub", "ed25519", "sign", "never")
        output(*gpg, "--output", directory / "keyring.gpg", "--export")
        for name in SUITES:
            _index(suite.archive / "dists" / name, name, stanzas if name == SUITE else [])
            release = suite.archive / "dists" / name / "Release"
            output(*gpg, "--output", release.with_name("InRelease"), "--clearsign", release)
    finally:
        output("gpgconf", "--homedir", home, "--kill", "all")
    return suite


@functools.cache
def _architecture() -> str:
    return output("dpkg", "--print-architecture").strip()


def _package(pool: Path, name: str, fill: Callable[[Path], None], fields: str) -> str:
    """Builds a package, and gives what the archive's index says of it."""
    tree = pool / name
    (tree / "DEBIAN").mkdir(parents=True)
    fill(tree)
    control = (
        f"Package: {name}\nVersion: 1\nArchitecture: {_architecture()}\nMaintainer: none\n"
        f"{fields}\nDescription: stands in for Debian\n"
    )
    (tree / "DEBIAN/control").write_text(control)
    path = pool / f"{name}.deb"
    output("dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "--build", tree, path)
    shutil.rmtree(tree)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{control}Filename: pool/{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n"


def _base(tree: Path) -> None:
    for name in DIRECTORIES:
        (tree / name).mkdir(parents=True)
    for name, goal in LINKS.items():
        (tree / goal).mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(goal)
    for name, text in FILES.items():
        (tree / name).write_text(text)
    programs = [Path(output("which", name).strip()) for name in PROGRAMS]
    listed = output("ldd", *programs)
    libraries = {Path(path) for path in re.findall(r"(/\S+) \(0x", listed)}
    for path in (*programs, *libraries):
        # Written through the links of the tree: the node may have its libraries in /lib.
        place = tree / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    (tree / "usr/bin/sh").symlink_to("dash")
    (tree / "tmp").chmod(0o1777)


def _doc(tree: Path) -> None:
    _postinst(tree, "[ -d /proc/self ]\necho set up > /etc/stub-doc")


def _formats(tree: Path) -> None:
    """Registers a binary format as update-binfmts(8) does."""
    place = "/proc/sys/fs/binfmt_misc"
    _postinst(
        tree,
        f"[ -e {place}/register ] || mount -t binfmt_misc binfmt_misc {place}\n"
        f"echo ':{FORMAT}:M::KIT-TEST::/bin/true:' > {place}/register",
    )


def _postinst(tree: Path, script: str) -> None:
    path = tree / "DEBIAN/postinst"
    path.write_text(f"#!/bin/sh\nset -e\n{script}\n")
    path.chmod(0o755)


def _large(tree: Path) -> None:
    """More than the smallest root file system holds; and yet a small package."""
    (tree / "usr").mkdir()
    with (tree / "usr/large").open("wb") as file:
        for _ in range(LARGE // MIB):
            file.write(_BLOCK)


def _index(directory: Path, name: str, stanzas: list[str]) -> None:
    """Writes the index of a suite, to be signed."""
    packages = directory / f"main/binary-{_architecture()}/Packages"
    packages.parent.mkdir(parents=True)
    packages.write_text("\n".join(stanzas))
    digest = hashlib.sha256(packages.read_bytes()).hexdigest()
    (directory / "Release").write_text(
        f"Suite: {name}\nCodename: {name}\nComponents: main\nArchitectures: {_architecture()}\n"
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S UTC', time.gmtime())}\n"
        f"SHA256:\n {digest} {packages.stat().st_size} {packages.relative_to(directory)}\n"
    )
