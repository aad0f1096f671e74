"""Faults of Ubuntu guests are found before their disks are made; needs no Ubuntu archive."""

from pathlib import Path

import pytest

from tests.system.installer import support
from tests.system.installer.support import Node

KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")


@pytest.fixture
def jammy(node: Node) -> Node:
    """A site whose variant is as its makers publish theirs: a suite and a mirror."""
    variants = node.directory / "variants"
    variants.mkdir()
    (variants / "jammy.conf").write_text('SUITE="jammy"\nMIRROR="http://127.0.0.1:9/ubuntu"\n')
    node.settings["VARIANTS_DIR"] = str(variants)
    node.environ["OS_VARIANT"] = "jammy"
    node.disk(support.DISK)
    return node


def test_the_hint_names_the_package_of_the_keyring(jammy: Node) -> None:
    jammy.hidden += [str(KEYRING)] if KEYRING.exists() else []
    outcome = jammy.create().failed("keyring", str(KEYRING), "jammy cannot be verified")
    assert "apt-get install ubuntu-keyring" in outcome.lines[-1]
    assert jammy.disks[0][0].stat().st_blocks == 0


def test_a_mirror_that_does_not_answer(jammy: Node) -> None:
    keyring = jammy.directory / "ubuntu.gpg"
    keyring.touch()
    jammy.settings["KEYRING"] = str(keyring)
    jammy.create().failed("127.0.0.1:9/ubuntu/dists/jammy/InRelease")
    assert jammy.disks[0][0].stat().st_blocks == 0


def test_ifupdown_without_universe(jammy: Node) -> None:
    jammy.parameters |= {"network_stack": "ifupdown", "components": "main"}
    outcome = jammy.create().failed("ifupdown", "universe")
    assert "add universe to COMPONENTS" in outcome.lines[-1]
    assert jammy.disks[0][0].stat().st_blocks == 0
