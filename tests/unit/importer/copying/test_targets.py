"""The volumes that passes write to."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from importer import journal
from importer.copying import targets
from importer.import_state import Volume
from importer.journal import Journal
from importer.plan.model import DiskPlan
from node.devices import lvm
from node.devices.lvm import LogicalVolume
from node.errors import KitError
from tests.unit.importer.plan.planned import drafted

PLAN = drafted().plan


def test_the_disks_of_a_renamed_instance_are_not_overwritten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tags = ("originstname+www.example.org",)
    volumes = [
        LogicalVolume(disk.vg, f"uuid.disk{number}", f"u{number}", disk.volume_size, tags=tags)
        for number, disk in enumerate(PLAN.disks)
    ]
    monkeypatch.setattr(lvm, "volumes", lambda: volumes)
    made = tuple(
        Volume(disk.target, each.vg, each.name, each.uuid)
        for disk, each in zip(PLAN.disks, volumes, strict=True)
    )
    with journal.begun(PLAN, "", tmp_path) as record:
        record.update(lambda state: replace(state.with_step("volumes"), volumes=made))
        with pytest.raises(KitError, match=r"are disks of the instance www\.example\.org"):
            targets.made(record, PLAN)
        volumes[:] = [LogicalVolume(each.vg, each.name, each.uuid, each.size) for each in volumes]
        assert set(targets.made(record, PLAN)) == {"vda", "vdc"}


class Lvm:
    """The volumes of the import; those of swap areas hold none but in `swaps`."""

    def __init__(self) -> None:
        self.there = [
            LogicalVolume(disk.vg, disk.lv, f"u{number}", disk.volume_size)
            for number, disk in enumerate(PLAN.disks)
        ]
        self.swaps: list[str] = []

    def create(self, disks: Sequence[DiskPlan], name: str) -> dict[str, LogicalVolume]:
        assert name == PLAN.instance
        for disk in disks:
            self.there.append(LogicalVolume(disk.vg, disk.lv, "new", disk.volume_size))
        return {disk.target: self.there[-1] for disk in disks}

    def make_swap(self, disk: DiskPlan, volume: LogicalVolume) -> None:
        assert (disk.lv, disk.swap_uuid is None) == (volume.name, False)
        self.swaps.append(volume.uuid)

    def remove(self, target: str) -> None:
        (disk,) = [each for each in PLAN.disks if each.target == target]
        self.there = [each for each in self.there if each.name != disk.lv]


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Lvm:
    tools = Lvm()
    monkeypatch.setattr(lvm, "volumes", lambda: tools.there)
    monkeypatch.setattr(targets.volumes, "create", tools.create)
    monkeypatch.setattr(targets.volumes, "make_swap", tools.make_swap)
    return tools


@pytest.fixture
def record(tmp_path: Path, tools: Lvm) -> Iterator[Journal]:
    made = tuple(
        Volume(disk.target, each.vg, each.name, each.uuid)
        for disk, each in zip(PLAN.disks, tools.there, strict=True)
    )
    with journal.begun(PLAN, "", tmp_path) as record:
        record.update(lambda state: replace(state.with_step("volumes"), volumes=made))
        yield record


def test_swap_whose_volume_was_removed_is_made_again(tools: Lvm, record: Journal) -> None:
    tools.remove("vdb")
    record.update(lambda state: replace(state, volumes=(state.volumes[0], state.volumes[2])))
    for _ in range(2):
        assert set(targets.made(record, PLAN)) == {"vda", "vdc"}
        assert tools.swaps == ["new"]
    noted = [(each.target, each.uuid) for each in record.read().volumes]
    assert noted == [("vda", "u0"), ("vdb", "new"), ("vdc", "u2")]


def test_a_copied_volume_that_was_removed_is_not_made_again(tools: Lvm, record: Journal) -> None:
    """What is copied next are changes only."""
    tools.remove("vda")
    tools.remove("vdb")
    with pytest.raises(KitError, match="the volumes of vda, vdb are gone") as caught:
        targets.made(record, PLAN)
    assert caught.value.hint == f"begin again: instance-kit import abort {PLAN.instance}"
    assert tools.swaps == []


def test_swap_of_an_instance_is_not_made_again(tools: Lvm, record: Journal) -> None:
    """Ganeti would not have the new volume."""
    tools.remove("vdb")
    record.completed("add")
    with pytest.raises(KitError, match="the volumes of vdb are gone") as caught:
        targets.made(record, PLAN)
    assert caught.value.hint.endswith(f", then gnt-instance remove {PLAN.instance}")
