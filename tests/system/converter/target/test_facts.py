"""What this node knows of a target is asked for once in a copy."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from converter import CopyOptions, copy, open_source
from node.devices import lvm, udev
from node.devices.lvm import LogicalVolume
from tests.system.converter import support
from tests.system.converter.support import MIB, Write

SIZE = 4 * MIB
VOLUME = LogicalVolume("xenvg", "web1", "uuid", SIZE)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    with support.target(tmp_path / "target", SIZE) as device:
        yield device


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the questions; LVM's answer is made up, as this kernel has no device mapper."""
    count: Counter[str] = Counter()
    real = udev.properties

    def properties(number: int) -> Mapping[str, str]:
        count["udev"] += 1
        return real(number)

    def volume(*_: str) -> LogicalVolume:
        count["lvm"] += 1
        return VOLUME

    monkeypatch.setattr(udev, "properties", properties)
    monkeypatch.setattr(lvm, "volume", volume)
    return count


@pytest.mark.quick
def test_udev_is_asked_once(device: Path, tmp_path: Path, asked: Counter[str]) -> None:
    image = support.qcow2(tmp_path / "image", SIZE, Write(0, support.noise(MIB, 1)))
    with open_source(str(image)) as source:
        asked.clear()
        copy(source, device)
    assert asked == {"udev": 1}


@pytest.mark.parametrize("new", [False, True])
def test_lvm_is_asked_once_or_told_what_it_said(
    device: Path,
    tmp_path: Path,
    asked: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
    new: bool,
) -> None:
    monkeypatch.setattr(lvm, "volume_of", lambda _: (VOLUME.vg, VOLUME.name))
    image = support.qcow2(tmp_path / "image", SIZE, Write(0, support.noise(MIB, 1)))
    with open_source(str(image)) as source:
        asked.clear()
        copy(source, device, CopyOptions(new_volume=VOLUME if new else None))
    assert asked == {"udev": 1} | ({} if new else {"lvm": 1})
