"""What `instance-kit verify` prints."""

import json
from pathlib import Path

import pytest

from backup.kinds import Kind
from backup.streams.stream import Area, Header
from backup.verifying import State, Verdict
from kit.verdicts import as_json, as_line, as_text

GOLDEN = Path(__file__).parents[2] / "data/golden/kit"
MIB = 1 << 20
ROOT = Header(
    disk_size=4096 * MIB,
    kit="0.1.0",
    instance="web1.example.org",
    disk={"index": 0, "name": "root"},
    partition_table="gpt",
    areas=(
        Area(MIB, MIB, "unknown", partition=1),
        Area(2 * MIB, 3000 * MIB, "ext4", "0e1f", "ro\x1b[2Jot", 2),
    ),
    smallest=3002 * MIB + 512,
    left_out={"free": 1200 * MIB, "swap": 0, "more": 5},
)
SWAP = Header(
    disk_size=512 * MIB, kit="0.1.0", areas=(Area(0, 512 * MIB, "swap", "5c9f", "swap1"),)
)
VERDICTS = {
    "whole": Verdict(State.WHOLE, None, Kind.KIT, ROOT),
    "cut": Verdict(State.DAMAGED, "it ends within a frame", Kind.KIT, SWAP),
    "noise": Verdict(State.DAMAGED, "it is empty"),
    "raw": Verdict(State.UNCERTAIN, "it has no checksums of its content", Kind.RAW),
    "gone": Verdict(State.MISSING),
    "b\nd": Verdict(State.UNREADABLE, "read of b\nd: Input/output error"),
}


@pytest.mark.parametrize(("kind", "shown"), [("text", as_text), ("lines", as_line)])
def test_golden(kind: str, shown: object) -> None:
    assert callable(shown)
    text = "".join(f"{shown(name, verdict)}\n" for name, verdict in VERDICTS.items())
    assert text == (GOLDEN / f"verify-{kind}").read_text()


def test_golden_json() -> None:
    found = [as_json(name, verdict) for name, verdict in VERDICTS.items()]
    assert json.dumps(found, indent=2) + "\n" == (GOLDEN / "verify-json").read_text()


@pytest.mark.parametrize("name", VERDICTS)
def test_each_has_one_line(name: str) -> None:
    assert "\n" not in as_line(name, VERDICTS[name])
