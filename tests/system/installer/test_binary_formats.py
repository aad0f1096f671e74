"""Packages that register binary formats (update-binfmts(8)) install; the node gets none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.isolation.mount import mounted
from tests.system.installer import support
from tests.system.installer.stub_suite import FORMAT, StubSuite
from tests.system.installer.support import Node

PACKAGES = "binfmt-support,jarwrapper"
INSTALL = ("update-binfmts", "--install", "kit-test", "/bin/true", "--magic", "KIT-TEST")


@pytest.fixture
def formats(tmp_path: Path) -> Iterator[Path]:
    """The formats that the node's kernel knows."""
    place = tmp_path / "binfmt_misc"
    place.mkdir()
    with mounted("binfmt_misc", place, fstype="binfmt_misc"):
        yield place


def test_packages_with_formats_install_and_the_node_gets_none(node: Node, formats: Path) -> None:
    before = {path.name for path in formats.iterdir()}
    node.settings |= {**support.TINY, "EXTRA_PKGS": PACKAGES}
    node.disk(support.TINY_DISK)
    # In the chroot of the hooks, as an upgrade would; the package itself in that of the engine.
    node.hook("formats", f"exec chroot $TARGET {' '.join(INSTALL)}")
    with support.guest(node) as guest:
        assert (guest.root / "var/lib/binfmts/jarwrapper").is_file()
        assert (guest.root / "var/lib/binfmts/kit-test").is_file()
    assert {path.name for path in formats.iterdir()} == before


@pytest.mark.trixie
def test_no_bootstrap_registers_formats_on_the_node(
    node: Node, stub: StubSuite, formats: Path
) -> None:
    node.settings |= support.TINY | stub.settings() | {"EXTRA_PKGS": "stub-formats"}
    node.settings["CACHE_DIR"] = str(node.cache)
    node.disk(support.TINY_DISK)
    outcome = node.create().succeeded()
    entry = formats / FORMAT
    reached = entry.exists()
    if reached:
        entry.write_text("-1")  # removes it
    assert not reached
    assert "engine: mmdebstrap" in outcome.log
