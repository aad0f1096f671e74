"""A move by two commands."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from importer import run as steps
from importer.import_state import ImportState, Pass, Step
from kit.cli import parser
from kit.import_ import run_plan
from node.errors import KitError
from tests.unit.importer.test_finish import PLAN

DONE_BY: dict[str, tuple[Step, ...]] = {
    "copy": ("volumes", "copy"),
    "adopt": ("add", "tag"),
    "renumber": ("renumber",),
    "check": ("check",),
    "finish": ("finish",),
}


class Verbs:
    """The other verbs, which do what they should but for one that fails."""

    def __init__(self) -> None:
        self.state: ImportState | None = None
        self.ran: list[str] = []
        self.failing = ""

    def __call__(self, argv: Sequence[str], _directory: Path, **_options: Any) -> int:
        words = list(argv[2:])
        self.ran.append(" ".join(words))
        if self.failing and self.ran[-1].startswith(self.failing):
            return 1
        if "--dry-run" in words or words[0] == "plan":
            return 0
        if self.state is None:
            self.state = ImportState("web.example.org", "kvm1", "web", "uuid", "", 0.0)
        made = DONE_BY[words[0]]
        if "--final" in words:
            made = ("final copy",)
            self.state = replace(self.state, stopped_by_us="shut down")
        if "--start" in words:
            made = ("start",)
        for step in made:
            self.state = self.state.with_step(step)
        if words[0] == "copy":
            number = len(self.state.passes) + 1
            size = (1 << 30) >> (5 * number)
            one = Pass(number, "--final" in words, "", 0.0, complete=True, bytes=size)
            self.state = replace(self.state, passes=(*self.state.passes, one))
        return 0


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> Verbs:
    made = Verbs()
    monkeypatch.setattr(run_plan, "run_on_terminal", made)
    monkeypatch.setattr(run_plan, "load", lambda _: (PLAN, ""))
    monkeypatch.setattr(run_plan, "_state", lambda _: made.state)
    monkeypatch.setattr(run_plan, "can_ask", lambda: True)
    monkeypatch.setattr(run_plan, "confirmed", lambda _: False)
    return made


def run(*words: str) -> int:
    return run_plan.run(parser().parse_args(["import", "run", "web.toml", *words]))


def test_prepare_checks_the_plan_and_copies_until_little_changes(verbs: Verbs) -> None:
    assert run("prepare", "--rate", "50M") == 0
    copy = "copy web.toml --rate 50M"
    assert verbs.ran == ["plan --check web.toml", copy]
    verbs.ran.clear()
    assert run("prepare") == 0
    assert verbs.ran == ["copy web.toml --again"]


def test_the_next_command_can_be_pasted(verbs: Verbs, capsys: pytest.CaptureFixture[str]) -> None:
    plan = "my\x1b web.toml"
    words = ["import", "run", plan]
    assert run_plan.run(parser().parse_args([*words, "prepare"])) == 0
    assert verbs.ran[0] == f"plan --check {plan}"
    assert capsys.readouterr().out.endswith(
        r"next: instance-kit import run 'my\x1b web.toml' switch" "\n"
    )
    assert run_plan.run(parser().parse_args([*words, "prepare", "--dry-run"])) == 0
    assert capsys.readouterr().out == "instance-kit import copy 'my\\x1b web.toml' --again\n"


def test_nothing_is_copied_when_the_plan_has_a_problem(
    verbs: Verbs, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs.failing = "plan --check"
    assert run("prepare") == 1
    assert verbs.ran == ["plan --check web.toml"]
    said = capsys.readouterr().err
    assert "stopped at: instance-kit import plan --check web.toml" in said
    assert "instance-kit import run web.toml prepare" in said


def test_there_is_no_switch_without_a_copy(verbs: Verbs) -> None:
    with pytest.raises(KitError, match="no copy is complete") as caught:
        run("switch")
    assert caught.value.hint == "instance-kit import run web.toml prepare"
    assert verbs.ran == []


def test_the_machine_is_not_stopped_without_a_decision(verbs: Verbs) -> None:
    run("prepare")
    verbs.ran.clear()
    with pytest.raises(KitError, match="stopped before") as caught:
        run("switch", "--suspend", "--max-downtime", "60")
    assert verbs.ran == ["copy web.toml --final --suspend --max-downtime 60 --dry-run"]
    assert caught.value.hint == (
        "to go on: instance-kit import run web.toml switch --suspend --max-downtime 60 --yes final"
    )


def test_the_switch_runs_to_its_end(verbs: Verbs) -> None:
    run("prepare")
    verbs.ran.clear()
    yes = [word for step in steps.DECISIONS for word in ("--yes", step)]
    assert run("switch", *yes) == 0
    assert verbs.ran == [
        "copy web.toml --final",
        "adopt web.toml",
        "renumber web.example.org --yes",
        "check web.example.org --fix --yes",
        "adopt web.toml --start",
        "finish web.toml",
    ]


def test_without_a_terminal_all_decisions_are_named_before_the_machine_stops(
    verbs: Verbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_plan, "can_ask", lambda: False)
    run("prepare")
    verbs.ran.clear()
    with pytest.raises(KitError, match="nobody can be asked before: final, check, start") as caught:
        run("switch", "--suspend", "--yes", "renumber")
    yes = [word for step in steps.DECISIONS for word in ("--yes", step)]
    assert caught.value.hint.endswith(
        f"instance-kit import run web.toml switch --suspend {' '.join(yes)}"
    )
    with pytest.raises(KitError, match="nobody can be asked before: start;"):
        run("switch", *yes[:-2])
    # The estimate is shown nevertheless.
    assert verbs.ran[0] == "copy web.toml --final --suspend --dry-run"
    assert all(each.endswith("--dry-run") for each in verbs.ran)
    verbs.failing = "adopt"
    assert run("switch", *yes) == 1
    verbs.ran.clear()
    with pytest.raises(KitError, match="nobody can be asked before: start;"):
        run("switch", *yes[:-2])
    assert verbs.ran == []


@pytest.mark.parametrize("question", ["check", "start"])
def test_a_no_after_the_last_pass_tells_that_the_machine_is_down(
    verbs: Verbs, capsys: pytest.CaptureFixture[str], question: str
) -> None:
    run("prepare")
    verbs.failing = "check" if question == "check" else ""
    yes = ("--yes", "final", "--yes", "renumber")
    if question == "check":  # it asks itself, and fails
        assert run("switch", *yes) == 1
        error, hint = capsys.readouterr().err.splitlines()[-2:]
    else:
        with pytest.raises(KitError) as caught:
            run("switch", *yes, "--yes", "check")
        error, hint = caught.value.message, caught.value.hint
    assert "; web on kvm1 is down, and the instance does not run yet" in error
    assert f"instance-kit import run web.toml switch {' '.join(yes)} --yes check" in hint
    assert hint.endswith("; or let web run again: instance-kit import abort web.example.org")


def test_a_no_before_the_last_pass_does_not(verbs: Verbs) -> None:
    run("prepare")
    with pytest.raises(KitError) as caught:
        run("switch")
    assert verbs.ran[-1].endswith("--dry-run")
    assert "down" not in caught.value.message and "abort" not in caught.value.hint


def test_a_rerun_goes_on_where_it_stopped(verbs: Verbs) -> None:
    run("prepare")
    verbs.failing = "check"
    assert run("switch", "--yes", "final", "--yes", "renumber") == 1
    assert verbs.ran[-1] == "check web.example.org --fix"
    verbs.ran.clear()
    verbs.failing = ""
    with pytest.raises(KitError, match=r"stopped before: .* --start"):
        run("switch", "--yes", "check")
    assert verbs.ran == ["check web.example.org --fix --yes"]


@pytest.mark.parametrize("verb", ["renumber", "check"])
def test_a_guest_that_cannot_be_changed_can_be_started_as_it_is(
    verbs: Verbs, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """Such as one without Linux; the machine is off at that time."""
    run("prepare")
    verbs.failing = verb
    assert run("switch", "--yes", "final") == 1
    hint = capsys.readouterr().err.splitlines()[-1]
    assert hint.startswith("hint: then go on with: instance-kit import run web.toml switch ")
    assert "; or start it as it is: instance-kit import adopt web.toml --start; or let" in hint
    verbs(["kit", "import", "adopt", "web.toml", "--start"], Path())
    verbs.ran.clear()
    assert run("switch") == 0
    assert verbs.ran == ["finish web.toml"]


def test_a_rehearsal_runs_nothing(verbs: Verbs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", "--dry-run") == 0
    assert verbs.ran == []
    assert capsys.readouterr().out.splitlines() == [
        "instance-kit import plan --check web.toml",
        "instance-kit import copy web.toml",
        "instance-kit import copy web.toml --again",
    ]


@pytest.mark.parametrize("option", [("--suspend",), ("--max-downtime", "60")])
def test_options_of_the_last_copy_are_refused_in_the_preparation(
    verbs: Verbs, option: tuple[str, ...]
) -> None:
    with pytest.raises(KitError, match=f"{option[0]}: only for the switch"):
        run("prepare", *option)
    assert verbs.ran == []
