"""What `import status` prints."""

import argparse
from pathlib import Path

import pytest

from importer import journal
from importer.import_state import ImportState, NicAddresses, Pass, Step, Volume
from importer.plan.file import render
from importer.plan.rules import Draft
from kit.import_ import status
from kit.import_.status import as_text, next_steps
from node.errors import KitError
from tests.unit.importer.plan.planned import drafted

GOLDEN = Path(__file__).parents[3] / "data/golden/importer/status-text"
STATE = ImportState(
    instance="web.example.org",
    host="kvm1.example.org",
    domain="web",
    uuid="6f2a5f4e-6f26-4c1a-bd53-3a7a3a0e9a10",
    plan="",
    began=0.0,
    steps={"final copy": 7200.0, "volumes": 3600.0},
    volumes=(
        Volume("vda", "xenvg", "a92d4053-845d-4adb-8bd7-4c2ae7507bc1.disk0", "u0", adopted=True),
        Volume("vdb", "hddvg", "web.example.org-lvm", "u1"),
    ),
    passes=(
        Pass(1, False, "kit-1", 0.0, True, 5 << 30, 61.25),
        Pass(2, False, "kit-2", 60.0, True, 13 << 20, 1.0),
        Pass(3, True, "", 120.0, True, 1 << 20, 0.8, 0.84),
        Pass(4, True, "", 180.0),
    ),
    source_before="running",
    stopped_by_us="suspended",
    addresses=(
        NicAddresses(0, ("192.0.2.7",), ("198.51.100.7", "2001:db8::7")),
        NicAddresses(1, (), ()),
    ),
)


def test_the_text_is_the_golden_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status.time, "localtime", status.time.gmtime)
    assert "\n".join(as_text(STATE, "web.toml", in_use=True)) + "\n" == GOLDEN.read_text()


COPY, ADOPT = "instance-kit import copy web.toml", "instance-kit import adopt web.toml"
ORDER: tuple[tuple[tuple[Step, ...], tuple[str, ...]], ...] = (
    ((), (COPY,)),
    (("copy",), (f"{COPY} --again", f"{COPY} --final")),
    (("copy", "add"), ("gnt-instance shutdown web.example.org", f"{COPY} --final")),
    (("copy", "final copy"), (ADOPT,)),
    (("final copy", "add"), (ADOPT,)),
    (("final copy", "add", "tag"), ("instance-kit import renumber web.example.org",)),
    (("final copy", "tag", "renumber"), ("instance-kit import check web.example.org",)),
    (("final copy", "tag", "renumber", "check"), (f"{ADOPT} --start",)),
    (
        ("final copy", "tag", "renumber", "check", "start"),
        ("instance-kit import finish web.toml",),
    ),
    (("final copy", "tag", "start"), ("instance-kit import finish web.toml",)),
)


@pytest.mark.parametrize(("steps", "expected"), ORDER)
def test_the_next_steps(steps: tuple[Step, ...], expected: tuple[str, ...]) -> None:
    state = STATE.without_step("final copy", "volumes")
    for step in steps:
        state = state.with_step(step)
    told = list(zip(("next", "then"), expected, strict=False))
    assert next_steps(state, "web.toml") == told


def test_after_the_last_step_nothing_is_left() -> None:
    state = STATE
    for step in ("tag", "renumber", "check", "start", "finish"):
        state = state.with_step(step)  # type: ignore[arg-type]
    ((_, what),) = next_steps(state, "web.toml")
    assert what.startswith("nothing; instance-kit import abort web.example.org")


@pytest.fixture
def imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of all imports, on a node without volumes and instances."""
    directory = tmp_path / "imports"
    read = journal.read
    monkeypatch.setattr(status.journal, "read", lambda name: read(name, directory))
    monkeypatch.setattr(status.lvm, "volumes", list)
    monkeypatch.setattr(status, "exists", lambda _: False)
    return directory


def test_the_plan_is_found_until_it_is_moved(
    imports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, text = drafted().plan, render(drafted())
    file = tmp_path / "my web.toml"
    file.write_text(text)
    with journal.begun(plan, text, imports) as record:
        record.note_plan_file(file)
    words = argparse.Namespace(instance=plan.instance, json=False)
    assert status.run(words) == 0
    assert capsys.readouterr().out.endswith(f"  next      instance-kit import copy '{file}'\n")
    file.unlink()
    assert status.run(words) == 0
    assert capsys.readouterr().out.endswith("  next      instance-kit import copy PLAN\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_damaged_journal_does_not_hide_the_others(
    imports: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    plan = drafted().plan
    with journal.begun(plan, render(Draft(plan)), imports):
        pass
    (imports / "a.example.org").mkdir()
    (imports / "a.example.org/state.json").write_text("{")
    names = list(journal.imports(imports))
    monkeypatch.setattr(status.journal, "imports", lambda: names)
    with pytest.raises(KitError, match="unreadable"):
        status.run(argparse.Namespace(instance=None, json=as_json))
    assert plan.instance in capsys.readouterr().out
