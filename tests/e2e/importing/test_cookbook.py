"""The commands of docs/cookbook.md that move a libvirt machine, as they stand there."""

from collections.abc import Iterator

import pytest

from tests.e2e import cookbook
from tests.e2e.cluster import CREATE_TIMEOUT, Cluster

from .domains import WEB1
from .lab import Lab

BLOCKS = [
    block
    for block in cookbook.blocks(cookbook.PAGE.read_text())
    if block.mark == cookbook.BESIDE_A_KVM_HOST
]
# The page names these replacements, too. The node is alone, so it mirrors no disks.
REPLACED = {"vg_ganeti_hdd": "hddvg", " --drbd --failover": ""}
INSTANCE = WEB1.full_name


@pytest.fixture
def node(lab: Lab) -> Iterator[Cluster]:
    """The node, with the machine beside it; afterwards, all of the import is gone."""
    lab.guest(WEB1).off()
    remove = ["gnt-instance", "remove", "--force", "--shutdown-timeout=0", INSTANCE]
    try:
        yield lab.node
    finally:
        lab.node.run(remove, check=False)
        lab.node.run(["instance-kit", "import", "abort", INSTANCE], check=False)
        lab.node.run(["rm", "--force", f"/root/{INSTANCE}.toml", "/root/recipe"])


def test_what_is_replaced_is_there_and_named() -> None:
    page = cookbook.PAGE.read_text()
    for old in REPLACED:
        assert any(old in block.commands for block in BLOCKS)
        assert f"`{old.strip()}`" in page


def test_a_machine_is_moved(node: Cluster) -> None:
    commands = [cookbook.replaced(block.commands, REPLACED) for block in BLOCKS]
    node.write("/root/recipe", cookbook.script(commands))
    ran = node.run(["bash", "/root/recipe"], check=False, timeout=CREATE_TIMEOUT)
    assert ran.returncode == 0, ran.stdout
    for block, printed in zip(BLOCKS, ran.stdout.split(cookbook.MARK), strict=False):
        line = cookbook.missing(block.expected, printed)
        assert line is None, f"{block.commands}\n\ndid not print {line!r}, but:\n{printed}"
