"""Sums over domains, and what they need of volume groups."""

import pytest

from importer.domains.inventory import DiskFacts, Inventory
from importer.domains.totals import Need, Totals, needs, totals
from node.devices.lvm import VolumeGroup
from tests.unit.importer.made import GIB, WEB1, WIN

MIB = 1 << 20
GROUPS = {
    "hddvg": VolumeGroup("hddvg", 64 * MIB, 105 * GIB),
    "xenvg": VolumeGroup("xenvg", 4 * MIB, 12 * GIB),
}


def test_sums() -> None:
    assert totals([WEB1, WIN]) == Totals(
        domains=2,
        vcpus=3,
        memory=11 << 29,
        disks=4,
        size=121 * GIB + 1,
        allocated=102 * GIB + 1 + 4096,
    )
    assert totals([]) == Totals(0, 0, 0, 0, 0, 0)


def test_without_a_rule_each_group_may_get_all() -> None:
    assert needs([WEB1, WIN], GROUPS) == [
        Need("hddvg", 121 * GIB + 64 * MIB, 105 * GIB),
        Need("xenvg", 121 * GIB + 4 * MIB, 12 * GIB),
    ]


def test_a_rule_chooses_the_group_of_each_disk() -> None:
    def rule(inventory: Inventory, disk: DiskFacts) -> str:
        assert disk in inventory.disks
        return "hddvg" if disk.size > 50 * GIB else "xenvg"

    found = needs([WEB1, WIN], GROUPS, rule)
    assert found == [
        Need("hddvg", 100 * GIB + 64 * MIB, 105 * GIB),
        Need("xenvg", 21 * GIB, 12 * GIB),
    ]
    assert [need.missing for need in found] == [0, 9 * GIB]


def test_a_rule_with_a_group_that_there_is_not() -> None:
    with pytest.raises(KeyError, match="nonevg"):
        needs([WIN], GROUPS, lambda _inventory, _disk: "nonevg")
