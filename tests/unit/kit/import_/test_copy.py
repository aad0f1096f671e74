"""The options of `import copy` for the last pass; what it says at the end."""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from importer import import_state, journal
from importer.copying.final import Finished
from importer.copying.session import Session
from importer.import_state import ImportState, Pass
from importer.plan.file import render
from kit.cli import parser
from kit.import_ import copy
from node.errors import KitError
from tests.unit.importer.copying.source import PLAN, POINT, seen, sizes
from tests.unit.importer.fake_host import FakeHost, said
from tests.unit.importer.plan.planned import drafted

MIB = 1 << 20
FIRST = Pass(1, False, POINT, 1.0, complete=True, copy_rate=50.0 * MIB, compare_rate=1024.0 * MIB)
STATE = ImportState(PLAN.instance, PLAN.host, PLAN.domain, PLAN.uuid, "", 1.0, passes=(FIRST,))


def options(*words: str) -> argparse.Namespace:
    return parser().parse_args(["import", "copy", "web.toml", *words])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """The domain of the journal runs; its last pass would take 23 s."""
    told = {"checkpoints": POINT, "sizes": sizes(POINT, f"size='{100 * MIB}'")}
    monkeypatch.setattr(copy, "look", lambda *_: seen(POINT, **told))
    monkeypatch.setattr(copy.journal, "imports", lambda: [PLAN.instance])
    monkeypatch.setattr(copy.journal, "read", lambda _: STATE)
    monkeypatch.setattr(copy, "refreshed", lambda state: state)
    return FakeHost(said())


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "1m", "", "²"])
def test_a_limit_is_a_whole_number_of_seconds(given: str) -> None:
    assert options("--final", "--max-downtime", "90").max_downtime == 90
    with pytest.raises(SystemExit):
        options("--final", f"--max-downtime={given}")


@pytest.mark.parametrize("given", ["0", "-1", "1.5", ""])
def test_the_time_of_a_shutdown_is_a_whole_number_of_seconds(given: str) -> None:
    assert options("--final", "--shutdown-seconds", "90").shutdown_seconds == 90
    with pytest.raises(SystemExit):
        options("--final", f"--shutdown-seconds={given}")


def test_only_a_last_pass_has_a_limit() -> None:
    copy._check(options("--final", "--max-downtime", "90"))
    with pytest.raises(KitError, match="--max-downtime: only with --final"):
        copy._check(options("--again", "--max-downtime", "90"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--again",), ["about 23 s"]),
        (("--final", "--suspend"), ["about 23 s, at most 300 s"]),
        (("--final", "--suspend", "--max-downtime", "60"), ["about 23 s, at most 60 s"]),
        (
            ("--final", "--suspend", "--max-downtime", "20"),
            [
                "about 23 s, at most 20 s",
                "web would not be stopped: its last pass takes about 23 s, but may take 20 s",
            ],
        ),
    ],
)
def test_the_limit_is_told_beforehand(
    host: FakeHost, words: tuple[str, ...], expected: list[str]
) -> None:
    lines = copy._foreseen(options(*words), PLAN, host)
    assert lines[-len(expected)].endswith(f" to compare, {expected[0]}")
    assert lines[len(lines) - len(expected) + 1 :] == expected[1:]


DRAFTED = drafted()
COPY = "instance-kit import copy 'my web.toml'"


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of imports; beside it is a plan, whose passes are complete at once."""
    imports = tmp_path / "imports"
    begun = journal.begun

    def run(session: Session) -> Pass:
        session.journal.completed("copy")
        session.journal.update(lambda state: replace(state, passes=(FIRST,)))
        return FIRST

    def run_last(session: Session, _: object, rehearse: Callable[[], None]) -> Finished:
        rehearse()
        session.journal.completed("final copy")
        return Finished(replace(FIRST, final=True, downtime=2.0), "off", ["rm x"])

    monkeypatch.chdir(tmp_path)
    Path("my web.toml").write_text(render(DRAFTED))
    monkeypatch.setattr(copy.journal, "begun", lambda *given: begun(*given, imports))
    monkeypatch.setattr(copy, "refreshed", lambda state: state)
    monkeypatch.setattr(copy.targets, "made", lambda *_: {})
    monkeypatch.setattr(copy, "connected", lambda _: nullcontext(FakeHost(said())))
    monkeypatch.setattr(copy, "with_host", lambda _, do: do(FakeHost(said())))
    monkeypatch.setattr(copy.passes, "run", run)
    monkeypatch.setattr(copy.final, "run", run_last)
    monkeypatch.setattr(copy.ganeti, "of_this_node", lambda: None)
    monkeypatch.setattr(copy.adopt, "rehearse", lambda *_: None)
    return imports


def refuse(*_: object) -> NoReturn:
    raise KitError("Ganeti would not make it: no bridge", hint="make one")


def test_what_ganeti_would_refuse_is_a_warning_after_the_first_pass(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(copy.adopt, "rehearse", refuse)
    assert run() == 0
    assert caplog.messages == [
        "before the last pass: Ganeti would not make it: no bridge; make one"
    ]
    caplog.clear()
    assert run("--again") == 0 and caplog.messages == []
    with pytest.raises(KitError, match="no bridge"):
        run("--final")
    assert not journal.read(DRAFTED.plan.instance, copied).done("final copy")


def run(*words: str) -> int:
    return copy.run(parser().parse_args(["import", "copy", "my web.toml", *words]))


def test_after_a_pass_the_next_commands_can_be_pasted(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"next: {COPY} --again",
        f"then: {COPY} --final",
    ]
    noted = journal.read(DRAFTED.plan.instance, copied).plan_file
    assert noted == f"{copied.parent}/my web.toml"


def test_a_plan_that_was_moved_is_noted_at_its_new_place(copied: Path) -> None:
    run()
    Path("plans").mkdir()
    Path("my web.toml").rename("plans/my web.toml")
    copy.run(parser().parse_args(["import", "copy", "plans/my web.toml", "--again"]))
    noted = journal.read(DRAFTED.plan.instance, copied).plan_file
    assert noted == f"{copied.parent}/plans/my web.toml"


@pytest.mark.usefixtures("copied")
def test_after_the_last_pass_the_next_command_can_be_pasted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run()
    capsys.readouterr()
    assert run("--final") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "web stays off on kvm1.example.org",
        "left on kvm1.example.org, when web is off:",
        "  rm x",
        "next: instance-kit import adopt 'my web.toml'",
    ]


def test_after_a_trial_the_last_pass_needs_no_adoption(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    with journal.opened(DRAFTED.plan.instance, copied) as record:
        record.completed("add")
        record.completed("tag")
    assert run("--final") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "next: instance-kit import renumber web.example.org"
    )


@pytest.mark.parametrize("clock", [1.0, -3600.0])
def test_what_the_instance_has_written_is_not_overwritten(
    copied: Path, monkeypatch: pytest.MonkeyPatch, clock: float
) -> None:
    """Even if the clock was set back between the last copy and the start."""
    run()
    run("--final")
    now = time.time()
    monkeypatch.setattr(import_state.time, "time", lambda: now + clock)
    with journal.opened(DRAFTED.plan.instance, copied) as record:
        record.completed("start")
    for which in ("--again", "--final"):
        with pytest.raises(KitError, match="its instance was started after the last copy"):
            run(which)


def test_a_trial_that_was_started_is_copied_again(copied: Path) -> None:
    run()
    with journal.opened(DRAFTED.plan.instance, copied) as record:
        record.completed("start")
    assert run("--again") == 0


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("words", "state", "domain", "why"),
    [
        ((), STATE, "running (booted)", "its first copy is complete"),
        (("--again",), None, "running (booted)", "its first copy is not complete"),
        (
            ("--final",),
            STATE.with_step("final copy").with_step("start"),
            "running (booted)",
            "its instance was started after the last copy",
        ),
        (
            ("--final",),
            STATE.with_step("final copy").with_step("add"),
            "shut off (shutdown)",
            "its last pass is complete, and web does not run",
        ),
    ],
)
def test_a_dry_run_refuses_what_the_copy_would(
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    state: ImportState | None,
    domain: str,
    why: str,
) -> None:
    monkeypatch.setattr(copy.journal, "imports", lambda: [PLAN.instance] if state else [])
    monkeypatch.setattr(copy.journal, "read", lambda _: state)
    monkeypatch.setattr(copy, "look", lambda *_: seen(POINT, state=domain))
    with pytest.raises(KitError, match=why):
        copy._foreseen(options(*words, "--dry-run"), PLAN, FakeHost(said()))
