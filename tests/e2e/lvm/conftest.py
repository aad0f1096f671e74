"""The guest that the tests of this folder share."""

import os
import shutil
from collections.abc import Iterator

import pytest

from . import lvm_guest
from .lvm_guest import Guest, Node
from .sources import make_sources


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    why = lvm_guest.missing_capability()
    if why:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    directory = tmp_path_factory.mktemp("lvm")
    try:
        debian = lvm_guest.install(directory)
        (directory / "sources").mkdir()
        make_sources(directory / "sources", debian)
        sources = lvm_guest.sources_disk(directory / "sources.ext4", directory / "sources")
        disk = lvm_guest.volume_group_disk(directory / "vg.raw")
        with lvm_guest.booted(directory, debian, disk, sources) as guest:
            yield Node(guest, debian)
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def guest(node: Node) -> Iterator[Guest]:
    """The guest; no logical volume, program or journal of a test is left in it."""
    yield node.guest
    left = node.guest.run(
        "pgrep -af '[q]cow2raw|[q]emu-nbd' || true; swapon --noheadings --show=NAME | grep dm- ||"
        " true; find /var/lib/ganeti-instance-kit/copies -type f 2>/dev/null || true;"
        " pkill -KILL -f '[q]cow2raw' || true; lvremove -qqfy xenvg"
    )
    assert not left
