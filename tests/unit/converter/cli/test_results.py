"""What came of a run, for people and for programs."""

import json
from pathlib import Path
from uuid import UUID

from converter.cli import results
from converter.extents import Kind
from converter.results import Comparison, CopyPlan, CopyResult, SwapResult, Zeroing

EXTENTS = {Kind.DATA: 3 << 30, Kind.COMPRESSED: 1 << 30, Kind.ZERO: 5 << 30, Kind.LITERAL: 0}
PLAN = CopyPlan("a.qcow2", "qcow2", Path("/dev/vg/lv"), 8 << 30, 9 << 30, EXTENTS, ("a note",))
PLAN_FIELDS = {
    "source": "a.qcow2",
    "format": "qcow2",
    "target": "/dev/vg/lv",
    "size": 8 << 30,
    "target_size": 9 << 30,
    "extents": {"data": 3 << 30, "compressed": 1 << 30, "zero": 5 << 30, "literal": 0},
    "notes": ["a note"],
}
SECONDS = {"check": 0.5, "copy": 3.0, "flush": 1.0}


def test_the_line_on_a_copy_counts_what_was_copied() -> None:
    result = CopyResult(PLAN, Zeroing("punch", 0, 5 << 30, 0), "ab", True, 0, SECONDS)
    assert results.copy_line(result) == (
        "/dev/vg/lv: 4 GiB of data copied in 0:04, 1 GiB/s; 5 GiB of zeros (punch);"
        " read back and verified"
    )


def test_the_line_on_an_update_names_no_way_of_zeroing() -> None:
    result = CopyResult(PLAN, None, None, False, 0, {"check": 0.5, "copy": 0.0, "flush": 0.0})
    assert results.copy_line(result) == "/dev/vg/lv: 4 GiB of data copied; 5 GiB of zeros"


def test_the_line_on_a_plan() -> None:
    assert results.plan_line(PLAN) == "/dev/vg/lv: 4 GiB of data would be copied; 5 GiB of zeros"


def test_fields_are_those_of_the_manual() -> None:
    copied = results.copy_fields(
        CopyResult(PLAN, Zeroing("skip", 1, 2, 3), None, False, 4096, SECONDS)
    )
    assert json.loads(json.dumps(copied)) == {
        **PLAN_FIELDS,
        "digest": None,
        "zeroing": {"strategy": "skip", "skipped": 1, "zeroed": 2, "written": 3},
        "resumed_at": 4096,
        "verified": False,
        "seconds": SECONDS,
    }
    compared = results.comparison_fields(Comparison(PLAN, 5, 4096, SECONDS))
    assert json.loads(json.dumps(compared)) == {
        **PLAN_FIELDS,
        "first_difference": 5,
        "different_bytes": 4096,
        "seconds": SECONDS,
    }
    uuid = UUID(int=7)
    assert results.swap_fields(SwapResult(Path("/dev/x"), 10, uuid)) == {
        "target": "/dev/x",
        "target_size": 10,
        "uuid": str(uuid),
    }
