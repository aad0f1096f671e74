"""The volumes that passes write to."""

from dataclasses import replace
from pathlib import Path

import pytest

from importer import journal
from importer.copying import targets
from importer.import_state import Volume
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
