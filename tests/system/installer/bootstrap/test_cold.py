"""Creates without a cache: by either engine, and two at once."""

import re
from collections.abc import Callable

import pytest

from tests.system.installer import support
from tests.system.installer.stub_suite import StubSuite
from tests.system.installer.support import Node, output


@pytest.mark.trixie
def test_two_creates_at_once_bootstrap_once(new_node: Callable[[], Node]) -> None:
    first, second = new_node(), new_node()
    for node in (first, second):
        node.settings |= support.TINY | {"CACHE_DIR": str(first.cache)}
        node.disk(support.TINY_DISK)
    second.environ["INSTANCE_NAME"] = "web2.example.org"
    running = first.start(), second.start()
    outcomes = [create.wait().succeeded() for create in running]
    logs = "".join(outcome.log for outcome in outcomes)
    assert logs.count("engine: mmdebstrap") == 1
    assert logs.count("stored as") == 1
    assert logs.count("waiting for another create that makes the same cache") == 1
    assert logs.count("unpacking of the cache") >= 1
    [cache] = first.cache.iterdir()
    assert re.fullmatch(r"cache-bookworm-\w+-[0-9a-f]{16}\.tar\.zst", cache.name)
    for node in (first, second):
        support.nothing_is_held(node)
        offset, size = support.root_partition(node.disks[0][0])
        with support.loop(node.disks[0][0], offset, size) as device:
            output("e2fsck", "-fn", device)


@pytest.mark.parametrize(
    ("suite", "settings"),
    [
        ("bookworm", {"BOOTSTRAP": "debootstrap"}),
        ("bullseye", {"BOOTSTRAP": "mmdebstrap", "MERGED_USR": "no"}),
    ],
)
def test_engines(node: Node, suite: str, settings: dict[str, str]) -> None:
    node.settings |= support.TINY | settings
    node.settings |= {"CACHE_DIR": str(node.cache), "BASE_PKGS": "iputils-ping,libcap2-bin"}
    node.environ["OS_VARIANT"] = suite
    node.disk(support.TINY_DISK)
    with support.guest(node) as made:
        assert f"engine: {settings['BOOTSTRAP']}" in made.outcome.log
        ping = "bin/ping" if suite == "bullseye" else "usr/bin/ping"
        assert "cap_net_raw=ep" in output("getcap", made.root / ping)
        sources = made.read("etc/apt/sources.list")
        for archive in (suite, f"{suite}-updates", f"{suite}-security"):
            assert re.search(rf"^deb (\[.*\] )?\S+ {archive} main$", sources, re.MULTILINE), sources
        assert made.read("etc/machine-id") == ""
        for path in ("etc/hostname", "etc/resolv.conf", "var/lib/systemd/random-seed"):
            assert not (made.root / path).exists(), path
        assert not list((made.root / "var/cache/apt/archives").glob("*.deb"))
        assert (made.root / "bin").is_symlink() == (suite != "bullseye")


@pytest.mark.quick
def test_the_second_create_unpacks_what_the_first_one_kept(node: Node, stub: StubSuite) -> None:
    node.settings |= support.TINY | stub.settings() | {"CACHE_DIR": str(node.cache)}
    node.disk(support.TINY_DISK)
    cold = node.create().succeeded()
    assert "engine: " in cold.log
    [kept] = [path for path in node.cache.iterdir() if path.name.endswith(".tar.zst")]
    made = kept.stat().st_mtime_ns
    with support.guest(node) as warm:
        assert "engine: " not in warm.outcome.log
        assert (warm.root / "usr/bin/dpkg").is_file()
    assert kept.stat().st_mtime_ns == made
