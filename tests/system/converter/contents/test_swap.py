"""Swap areas and partition tables as the real tools make them, and check them afterwards."""

import json
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from converter.contents.gpt import repaired
from converter.contents.partitions import table
from converter.contents.swap_header import PAGE_SIZES, SwapArea, find_areas
from converter.extents import Extent, Kind
from converter.reading import Read
from converter.swap import new_header, replacements
from node.errors import KitError
from tests.system.installer.support import output

MIB = 1 << 20
UUID = "0e5e1c8a-77a8-4d0b-9f0c-3d3b8e6f4a11"


def reader(path: Path) -> Read:
    def read(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    return read


def disk(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    path.chmod(0o600)
    return path


def sfdisk(path: Path, script: str) -> None:
    subprocess.run(["sfdisk", "--quiet", "--no-reread", path], input=script, text=True, check=True)


def put(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def written(path: Path, extents: Iterable[Extent]) -> None:
    for extent in extents:
        zeros = extent.kind is Kind.ZERO
        put(path, extent.guest_offset, bytes(extent.length) if zeros else extent.literal)


def fields(path: Path, offset: int = 0, size: int = 0) -> dict[str, str]:
    """What blkid(8) says of what we have made ourselves."""
    limits = ["--offset", str(offset), *(["--size", str(size)] if size else [])]
    lines = output("blkid", "--probe", *limits, "--output", "export", path).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def areas(path: Path) -> tuple[SwapArea, ...]:
    found = find_areas(reader(path), path.stat().st_size)
    assert found.warnings == ()
    return found.areas


@pytest.mark.parametrize("size", PAGE_SIZES)
@pytest.mark.parametrize("label", ["", "swap of web1"])
def test_the_headers_of_mkswap_come_out_byte_for_byte(
    tmp_path: Path, size: int, label: str
) -> None:
    path = disk(tmp_path / "disk", 8 * MIB + 4096)
    options = ["--label", label] if label else []
    output("mkswap", "--uuid", UUID, "--pagesize", str(size), *options, path)
    (area,) = areas(path)
    assert (str(area.uuid), area.page_size, area.byteorder) == (UUID, size, "little")
    assert area.label == label.encode().ljust(16, b"\0")
    made = replacements([area], area.length, area.length)
    assert (
        b"".join(one.literal if one.kind is Kind.LITERAL else bytes(one.length) for one in made)
        == path.read_bytes()
    )


def test_a_larger_target_is_all_swap(tmp_path: Path) -> None:
    source = disk(tmp_path / "source", 4 * MIB)
    output("mkswap", "--uuid", UUID, "--label", "grown", source)
    target = disk(tmp_path / "target", 9 * MIB)
    put(target, 0, b"\xff" * 9 * MIB)
    written(target, replacements(areas(source), 9 * MIB, 4 * MIB))
    peer = disk(tmp_path / "peer", 9 * MIB)
    output("mkswap", "--uuid", UUID, "--label", "grown", peer)
    assert target.read_bytes() == peer.read_bytes()


def test_the_other_byte_order_is_seen_by_blkid_as_the_same(tmp_path: Path) -> None:
    path = disk(tmp_path / "disk", 4 * MIB)
    output("mkswap", "--uuid", UUID, "--label", "sparc", "--pagesize", "8192", path)
    words = struct.unpack("<III", path.read_bytes()[1024:1036])
    put(path, 1024, struct.pack(">III", *words))
    (area,) = areas(path)
    assert area.byteorder == "big"
    target = disk(tmp_path / "target", 6 * MIB)
    written(target, replacements([area], 6 * MIB, 4 * MIB))
    found = fields(target)
    assert (found["UUID"], found["LABEL"], found["TYPE"]) == (UUID, "sparc", "swap")
    assert struct.unpack(">III", target.read_bytes()[1024:1036]) == (1, 6 * MIB // 8192 - 1, 0)


def test_an_area_that_mkswap_refuses_is_an_error(tmp_path: Path) -> None:
    path = disk(tmp_path / "disk", 4 * MIB)
    output("mkswap", path)
    with pytest.raises(KitError, match=r"mkswap for the swap area at byte 0: .*at least 40 KiB"):
        new_header(areas(path)[0], 9 * 4096)


DOS = """label: dos
start=2048, size=20480, type=83
start=22528, size=40960, type=5
start=24576, size=8192, type=82
start=34816, size=16385, type=83
"""
GPT = """label: gpt
start=2048, size=20480
start=22528, size=8192, type=swap, name="the swap"
start=32768, size=16384
"""


def swaps_in(path: Path) -> None:
    found = json.loads(output("sfdisk", "--json", path))["partitiontable"]
    ours = table(reader(path), path.stat().st_size)
    assert ours is not None and ours.warnings == ()
    listed = [one for one in found["partitions"] if one["type"] != "5"]
    assert [(one.start, one.length) for one in ours.partitions] == [
        (one["start"] * 512, one["size"] * 512) for one in listed
    ]
    if found["label"] == "gpt":
        assert [one.uuid for one in ours.partitions] == [one["uuid"].lower() for one in listed]
        assert ours.uuid == found["id"].lower()
        assert [one.name for one in ours.partitions] == [one.get("name", "") for one in listed]

    swap = ours.partitions[1]
    alone = disk(path.with_name("swap"), swap.length)
    output("mkswap", "--uuid", UUID, "--label", "inside", alone)
    put(path, swap.start, alone.read_bytes())
    put(path, swap.start + MIB, b"what was paged out")
    before = path.read_bytes()
    (area,) = areas(path)
    assert (area.start, area.length) == (swap.start, swap.length)
    written(path, replacements([area], 64 * MIB, path.stat().st_size))
    after = path.read_bytes()
    assert after[: swap.start] == before[: swap.start]
    assert after[swap.end :] == before[swap.end :]
    assert after[swap.start : swap.end] == alone.read_bytes()
    assert fields(path, swap.start, swap.length)["UUID"] == UUID


@pytest.mark.quick
@pytest.mark.parametrize("script", [DOS, GPT], ids=["dos", "gpt"])
def test_swap_in_a_partition_is_made_anew_and_all_else_stays(tmp_path: Path, script: str) -> None:
    path = disk(tmp_path / "disk", 32 * MIB)
    sfdisk(path, script)
    swaps_in(path)


def sound(path: Path) -> None:
    """Both sgdisk and sfdisk find nothing to say of a disk's GPT."""
    said = output("sgdisk", "--verify", path)
    assert "No problems found" in said and "Creating new" not in said, said
    said = output("sfdisk", "--verify", path)
    assert "No errors detected" in said, said
    assert "corrupt" not in said and "not on the end" not in said, said


@pytest.mark.parametrize("damage", [None, 512 + 60, 1024 + 60, -512 + 60])
@pytest.mark.parametrize("size", [32 * MIB + 512 * 7, 40 * MIB])
def test_a_gpt_on_a_larger_target_is_sound(tmp_path: Path, damage: int | None, size: int) -> None:
    path = disk(tmp_path / "disk", 32 * MIB)
    sfdisk(path, GPT)
    sound(path)
    before = json.loads(output("sfdisk", "--json", path))["partitiontable"]
    if damage is not None:
        put(path, damage % (32 * MIB), b"\xa5")
    found = repaired(reader(path), 32 * MIB, size)
    assert found is not None and found.extents
    with path.open("r+b") as file:
        file.truncate(size)
    with pytest.raises(AssertionError):
        sound(path)
    written(path, found.extents)
    sound(path)
    after = json.loads(output("sfdisk", "--json", path))["partitiontable"]
    assert after["lastlba"] == size // 512 - 34
    assert {**after, "lastlba": 0} == {**before, "lastlba": 0}
