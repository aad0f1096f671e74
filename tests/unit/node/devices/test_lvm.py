"""The command lines of LVM's tools and the parsing of their reports; the tools are faked.

The reports are as LVM 2.03.16 prints them; the tools themselves run in a guest's tests.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from node.cleanup import Terminated
from node.devices import lvm
from node.devices.lvm import LogicalVolume
from node.errors import CommandError, KitError
from node.run import Result

MIB = 1 << 20
GIB = 1 << 30
EXTENT = 4 * MIB
WEB: dict[str, str] = {
    "vg_name": "xenvg",
    "lv_name": "web1",
    "lv_uuid": "FxhjQ6-hmzN-aDyR-Jf6n-hWbz-DRsm-h5dj2q",
    "lv_size": str(8 * MIB),
    "pool_lv": "",
    "origin": "",
    "lv_tags": "originstname+web1.example.org,second",
    "lv_attr": "-wi-a-----",
}
POOL = {"lv_name": "pool", "lv_attr": "twi-aotz--"}
VG = {"vg_name": "xenvg", "vg_extent_size": str(EXTENT), "vg_free": str(3 * EXTENT)}
COMMON = ["--reportformat", "json", "--nosuffix", "--units", "b", "-o"]
Answer = Callable[[list[str]], Result]


class Tools:
    """Answers for LVM's tools, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.volumes = [POOL]
        self.groups = [VG]
        self.made = WEB
        self.failing = ""

    def __call__(self, argv: Sequence[str], **_: Any) -> Result:
        words = [str(word) for word in argv]
        self.asked.append(words)
        if words[0] == self.failing:
            raise CommandError(
                f"{words[0]}: no", exit_code=5, stdout="", stderr="no", hint="what to do"
            )
        if words[0] == "vgs":
            return _report("vg", self.groups)
        if words[0] == "lvs":
            return _report("lv", [self.made] if "/" in words[-1] else self.volumes)
        return Result(0, "", "")


def _report(kind: str, rows: list[dict[str, str]]) -> Result:
    return Result(0, json.dumps({"report": [{kind: rows}]}), "")


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Tools:
    tools = Tools()
    monkeypatch.setattr(lvm, "run", tools)
    return tools


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xenvg-web1", ("xenvg", "web1")),
        ("my--vg-a--b--c", ("my-vg", "a-b-c")),
        ("xenvg-disk0--", ("xenvg", "disk0-")),
        ("xenvg-pool-tpool", None),
        ("mpatha", None),
        ("", None),
    ],
)
def test_names_of_device_mapper(name: str, expected: tuple[str, str] | None) -> None:
    assert lvm.names(name) == expected


def test_a_thick_volume_is_rounded_up_to_extents(tools: Tools) -> None:
    with lvm.created("xenvg", "web1", EXTENT + 1) as volume:
        assert volume == LogicalVolume(
            vg="xenvg",
            name="web1",
            uuid="FxhjQ6-hmzN-aDyR-Jf6n-hWbz-DRsm-h5dj2q",
            size=8 * MIB,
            tags=("originstname+web1.example.org", "second"),
            attr="-wi-a-----",
        )
        assert str(volume.path) == "/dev/xenvg/web1"
        assert not volume.zeroes_new_blocks
    assert tools.asked == [
        ["vgs", *COMMON, "vg_name,vg_extent_size,vg_free"],
        ["lvs", *COMMON, "lv_name,lv_attr", "xenvg"],
        [
            *("lvcreate", "--yes", "--size", f"{2 * EXTENT}b"),
            *("--wipesignatures", "y", "--zero", "y", "--name", "web1", "xenvg"),
        ],
        [
            *("lvs", *COMMON),
            *("vg_name,lv_name,lv_uuid,lv_size,pool_lv,origin,lv_tags,lv_attr", "xenvg/web1"),
        ],
    ]


def test_a_thin_volume(tools: Tools) -> None:
    tools.made = {**WEB, "pool_lv": "pool", "lv_attr": "Vwi-a-tz--"}
    with lvm.created("xenvg", "web1", 100 * EXTENT, "pool") as volume:
        assert volume.zeroes_new_blocks
    assert [
        *("lvcreate", "--yes", "--thinpool", "pool"),
        *("--virtualsize", f"{100 * EXTENT}b", "--name", "web1", "xenvg"),
    ] in tools.asked


def test_a_pool_that_does_not_zero(tools: Tools) -> None:
    tools.made = {**WEB, "pool_lv": "pool", "lv_attr": "Vwi-a-t---"}
    with lvm.created("xenvg", "web1", EXTENT, "pool") as volume:
        assert not volume.zeroes_new_blocks


def test_a_failed_copy_removes_it_and_an_interrupted_one_does_not(tools: Tools) -> None:
    with pytest.raises(KitError, match="broken"), lvm.created("xenvg", "web1", EXTENT):
        raise KitError("broken", "what to do")
    assert tools.asked[-1] == [
        *("lvremove", "--yes", "--select", f"lv_uuid={WEB['lv_uuid']}", "xenvg/web1")
    ]
    tools.asked.clear()
    with pytest.raises(Terminated), lvm.created("xenvg", "web1", EXTENT):
        raise Terminated(15)
    assert tools.asked[-1][0] != "lvremove"
    # Nor one that was interrupted before its first byte: there is nothing to go on with.
    with (
        pytest.raises(Terminated),
        lvm.created("xenvg", "web1", EXTENT, keep=lambda _: False),
    ):
        raise Terminated(15)
    assert tools.asked[-1][0] == "lvremove"


def test_a_failed_removal_does_not_mask_the_first_error(tools: Tools) -> None:
    tools.failing = "lvremove"
    with pytest.raises(KitError, match="broken"), lvm.created("xenvg", "web1", EXTENT):
        raise KitError("broken", "what to do")
    assert tools.asked[-1][0] == "lvremove"


def refused(tools: Tools, size: int, pool: str | None, *words: str) -> None:
    with pytest.raises(KitError) as caught, lvm.created("xenvg", "web1", size, pool):
        pytest.fail("it was made")
    text = f"{caught.value.message}; {caught.value.hint}"
    for word in words:
        assert word in text
    assert not [argv for argv in tools.asked if argv[0] == "lvcreate"]


def test_what_is_refused_before_anything_is_made(tools: Tools) -> None:
    refused(tools, 3 * EXTENT + 1, None, "16 MiB", "12 MiB free", "4 MiB too little")
    refused(tools, EXTENT, "other", "no thin pool other", "pool")
    tools.volumes = [POOL, {"lv_name": "web1", "lv_attr": "-wi-a-----"}]
    refused(tools, EXTENT, None, "the name is taken", "/dev/xenvg/web1", "lvremove")
    refused(tools, EXTENT, "web1", "the name is taken")
    tools.groups = [{**VG, "vg_name": "other"}]
    refused(tools, EXTENT, None, "volume group xenvg", "other")


def test_what_is_needed_never_looks_like_what_is_there(tools: Tools) -> None:
    tools.groups = [{**VG, "vg_free": str(GIB)}]
    refused(tools, GIB + 1, None, "it needs 1.1 GiB, and xenvg has 1 GiB free: 4 MiB too little")
    tools.groups = [{**VG, "vg_free": str(GIB - EXTENT)}]
    refused(tools, GIB, None, "it needs 1 GiB, and xenvg has 1020 MiB free: 4 MiB too little")


def test_a_report_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvm, "run", lambda *_, **__: Result(0, "{}", ""))
    with pytest.raises(KitError, match="cannot be parsed"), lvm.created("a", "b", 1):
        pytest.fail("it was made")


def test_a_volume_that_stays_has_its_tags_at_once(tools: Tools) -> None:
    made = lvm.create("xenvg", "web1", 2 * EXTENT, tags=["import+web1", "second"])
    assert made.size == 2 * EXTENT
    assert tools.asked[0] == [
        *("lvcreate", "--yes", "--size", f"{2 * EXTENT}b"),
        *("--addtag", "import+web1", "--addtag", "second", "--name", "web1", "xenvg"),
    ]


def test_all_groups_and_volumes(tools: Tools) -> None:
    tools.volumes = [WEB, {**WEB, "lv_name": "web2", "lv_tags": ""}]
    assert [(each.name, len(each.tags)) for each in lvm.volumes()] == [("web1", 2), ("web2", 0)]
    assert lvm.groups() == {"xenvg": lvm.VolumeGroup("xenvg", EXTENT, 3 * EXTENT)}
    assert [argv[0] for argv in tools.asked] == ["lvs", "vgs"]
