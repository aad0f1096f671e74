"""Volumes of an import: what is checked, made and removed; LVM's tools are faked."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from converter import CopyOptions, KitError, LogicalVolume, TargetInUse
from importer.adoption import volumes
from importer.adoption.adopted import is_adopted
from importer.adoption.volumes import create, make_swap, missing, of_import, remove, tag
from importer.plan.model import DiskPlan
from node.devices.lvm import VolumeGroup

EXTENT = 4 << 20
GROUPS = {name: VolumeGroup(name, EXTENT, 10 * EXTENT) for name in ("xenvg", "hddvg")}
ROOT = DiskPlan("vda", "/img/a", "qcow2", False, 3 * EXTENT - 5, "xenvg", "web1.root", 3 * EXTENT)
DATA = DiskPlan("vdb", "/img/b", "raw", False, 2 * EXTENT, "hddvg", "web1.srv", 2 * EXTENT)
SWAP = DiskPlan(
    *("vdc", "/img/c", "raw", False, EXTENT, "xenvg", "web1.swap", EXTENT),
    swap_uuid="1c4f0e2a-7d5b-4c47-9f3a-0b1a2c3d4e5f",
    swap_label="swäp",
)
DISKS = (ROOT, DATA, SWAP)
OURS = ("import+web1",)


def volume_of(disk: DiskPlan, *, tags: tuple[str, ...] = OURS, **more: Any) -> LogicalVolume:
    made = LogicalVolume(disk.vg, disk.lv, f"uuid of {disk.lv}", disk.volume_size, tags=tags)
    return dataclasses.replace(made, **more)


class Lvm:
    """What node.devices.lvm does; devices in `used` are in use."""

    def __init__(self) -> None:
        self.there: list[LogicalVolume] = []
        self.made: list[str] = []
        self.removed: list[str] = []
        self.groups = lambda: GROUPS
        self.volumes = lambda: list(self.there)

    def create(self, vg: str, name: str, size: int, *, tags: list[str]) -> LogicalVolume:
        self.made.append(name)
        made = LogicalVolume(vg, name, f"uuid of {name}", size, tags=tuple(tags))
        self.there.append(made)
        return made

    def volume(self, vg: str, name: str) -> LogicalVolume:
        (found,) = [each for each in self.there if (each.vg, each.name) == (vg, name)]
        return found

    def remove(self, unwanted: LogicalVolume) -> None:
        self.removed.append(unwanted.name)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Lvm:
    tools = Lvm()
    monkeypatch.setattr(volumes, "lvm", tools)
    return tools


def test_all_are_made_once_with_the_tag(tools: Lvm) -> None:
    made = create(DISKS, "web1")
    assert tools.made == ["web1.root", "web1.srv", "web1.swap"]
    assert made == {disk.target: volume_of(disk) for disk in DISKS}
    assert create(DISKS, "web1") == made
    assert len(tools.made) == 3
    tools.there.pop(1)
    assert create(DISKS, "web1") == made
    assert tools.made[3:] == ["web1.srv"]


def test_all_findings_come_before_the_first_volume(tools: Lvm) -> None:
    tools.there = [volume_of(ROOT, tags=("import+web2",)), volume_of(SWAP, size=2 * EXTENT)]
    other = dataclasses.replace(DATA, vg="no-such-vg")
    uneven = dataclasses.replace(DATA, lv="b", volume_size=3 * EXTENT - 1)
    small = dataclasses.replace(DATA, lv="c", volume_size=EXTENT)
    big = dataclasses.replace(DATA, lv="d", volume_size=9 * EXTENT)
    with pytest.raises(KitError) as caught:
        create([ROOT, SWAP, other, uneven, small, big, DATA], "web1")
    for words in (
        "xenvg/web1.root: the name is taken",
        f"xenvg/web1.swap: it has {2 * EXTENT} bytes, not {EXTENT}",
        "no-such-vg/web1.srv: this node has no volume group no-such-vg",
        f"hddvg/b: {3 * EXTENT - 1} bytes",
        f"hddvg/c: {EXTENT} bytes",
        "hddvg: 44 MiB are needed, 40 MiB are free",
    ):
        assert words in caught.value.message
    assert not tools.made


def test_what_is_there_needs_no_room() -> None:
    full = {name: VolumeGroup(name, EXTENT, 0) for name in GROUPS}
    assert missing(DISKS, "web1", full, [volume_of(disk) for disk in DISKS]) == []


@pytest.mark.parametrize("name", ["web 1", "web@1", "wéb", "web1\n"])
def test_a_name_that_is_no_tag(name: str) -> None:
    with pytest.raises(KitError, match="does not take the name"):
        tag(name)


@pytest.mark.parametrize(
    ("change", "adopted"),
    [
        ({}, False),
        ({"name": "1c4f0e2a-7d5b-4c47-9f3a-0b1a2c3d4e5f.disk0"}, True),
        ({"name": "1c4f0e2a-7d5b-4c47-9f3a-0b1a2c3d4e5f.disk12_data"}, True),
        ({"name": "web1.disk0"}, False),
        ({"tags": (*OURS, "originstname+web1.example.org")}, True),
        ({"tags": (*OURS, "mine")}, False),
    ],
)
def test_what_ganeti_has_adopted(change: dict[str, Any], adopted: bool) -> None:
    assert is_adopted(dataclasses.replace(volume_of(ROOT), **change)) is adopted


def test_swap_is_made_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(volumes, "new_swap", lambda *words: calls.append(words))
    make_swap(SWAP, volume_of(SWAP))
    make_swap(dataclasses.replace(SWAP, swap_uuid="", swap_label=""), volume_of(SWAP))
    options = CopyOptions(force=True, readers_allowed=True)
    there = Path("/dev/xenvg/web1.swap")
    assert calls == [
        (UUID("1c4f0e2a-7d5b-4c47-9f3a-0b1a2c3d4e5f"), "swäp", there, options),
        (UUID(int=0), "", there, options),
    ]
    with pytest.raises(KitError, match="swap area of vdc: badly formed"):
        make_swap(dataclasses.replace(SWAP, swap_uuid="x"), volume_of(SWAP))


def test_only_what_is_ours_and_unused_is_removed(
    tools: Lvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopted = volume_of(ROOT, name="1c4f0e2a-7d5b-4c47-9f3a-0b1a2c3d4e5f.disk0")
    used, unused = volume_of(DATA), volume_of(SWAP)
    others = [volume_of(ROOT, tags=()), volume_of(ROOT, tags=("import+web12",))]
    tools.there = [adopted, used, unused, *others]

    @contextmanager
    def claimed(_: Path, *, name: str, in_use: type[KitError], **_more: object) -> Iterator[Any]:
        raise in_use(f"{name}: in use", "wait")
        yield

    monkeypatch.setattr(volumes, "claimed", claimed)
    monkeypatch.setattr(Path, "exists", lambda path: path.name == "web1.srv")
    assert of_import("web1") == [adopted, used, unused]
    done = remove("web1")
    assert tools.removed == ["web1.swap"]
    assert done.removed == (unused,)
    (one, why), (other, reason) = done.kept
    assert (one, other) == (adopted, used)
    assert "gnt-instance remove" in why and reason == "volume hddvg/web1.srv: in use"


def test_errors_of_removal_are_not_taken_for_use(
    tools: Lvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.there = [volume_of(ROOT)]

    def fails(_volume: LogicalVolume) -> None:
        raise KitError("volume: Input/output error", "dmesg")

    monkeypatch.setattr(volumes, "_forget_copy", fails)
    with pytest.raises(KitError, match="Input/output") as caught:
        remove("web1")
    assert not isinstance(caught.value, TargetInUse)
    assert not tools.removed
