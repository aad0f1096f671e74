"""What a session of a copy notes in the journal."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from converter import PartedProgress, Silent
from importer import journal
from importer.copying import final, passes
from importer.copying.final import Stop
from importer.copying.session import Session
from importer.host.connection import KvmHost
from importer.journal import Pass, Step
from node.errors import KitError
from tests.unit.importer.fake_host import FakeHost, said

from .source import PLAN, seen

TRIED: tuple[Step, ...] = ("volumes", "copy", "add", "tag", "renumber", "check", "start")


def test_a_pass_into_a_trial_instance_undoes_what_was_done_to_its_guest(tmp_path: Path) -> None:
    with journal.begun(PLAN, "", tmp_path) as record:
        for step in TRIED:
            record.completed(step)
        host, progress = cast(KvmHost, None), cast(PartedProgress, None)
        Session(host, PLAN, record, {}, progress).note(Pass(2, True, "", time.time()))
        state = record.read()
    assert set(state.steps) == {"volumes", "copy", "add", "tag"}
    assert [each.number for each in state.passes] == [2]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with journal.begun(PLAN, "", tmp_path) as record:
        yield Session(FakeHost(said()), PLAN, record, {}, Silent())


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which passes go on after the first look at the domain."""
    begun: list[str] = []

    def notes(name: str) -> Callable[..., object]:
        return lambda *_, **__: begun.append(name) or Pass(1, False, "", 1.0)  # type: ignore[func-returns-value]

    monkeypatch.setattr(passes, "from_images", notes("images"))
    monkeypatch.setattr(passes, "_from_job", notes("job"))
    monkeypatch.setattr(final, "_suspended", notes("suspended"))
    monkeypatch.setattr(final, "_shut_down", notes("shut down"))
    monkeypatch.setattr(final, "clean", lambda *_: [])
    return begun


def sees(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    for module in (passes, final):
        monkeypatch.setattr(module, "look", lambda *_: seen(state=state))


def do(session: Session, which: str) -> None:
    if which == "again":
        passes.run(session)
    else:
        final.run(session, Stop(suspend=which == "suspend"), lambda: None)


@pytest.mark.parametrize("which", ["again", "final", "suspend"])
@pytest.mark.parametrize(
    ("state", "verb"), [("shut off (shutdown)", "start"), ("paused (user)", "resume")]
)
def test_an_instance_is_not_overwritten_by_a_source_that_has_not_run_since(
    session: Session,
    begun: list[str],
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    state: str,
    verb: str,
) -> None:
    """Somebody may have started it by `gnt-instance startup`, and shut it down."""
    sees(monkeypatch, state)
    session.journal.completed("final copy")
    session.journal.completed("add")
    with pytest.raises(KitError, match="its last pass is complete, and web does not run") as caught:
        do(session, which)
    assert caught.value.hint.endswith(f", on {PLAN.host}: virsh {verb} web")
    assert begun == [] and session.journal.read().done("final copy")


@pytest.mark.parametrize("which", ["again", "final", "suspend"])
@pytest.mark.parametrize(
    ("steps", "state"),
    [
        (["final copy"], "shut off (shutdown)"),
        (["final copy"], "paused (user)"),
        (["add"], "shut off (shutdown)"),  # a trial
        (["add"], "running (booted)"),
        (["add", "final copy"], "running (booted)"),
        (["add", "final copy"], "in shutdown (user)"),
    ],
)
def test_other_sources_are_copied(
    session: Session,
    begun: list[str],
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    steps: list[Step],
    state: str,
) -> None:
    sees(monkeypatch, state)
    for step in steps:
        session.journal.completed(step)
    do(session, which)
    assert begun


def test_a_source_that_runs_needs_another_last_pass_whatever_its_host_can(
    session: Session, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without backup jobs, none is made while it runs: a killed run would leave the old note."""
    old = "Running hypervisor: QEMU 4.2.0\nRunning against daemon: 5.0.0\n"
    monkeypatch.setattr(final, "look", lambda *_: seen(versions=old))
    session.journal.completed("final copy")
    session.note(Pass(1, False, "", 1.0, complete=True))
    final.run(session, Stop(suspend=True), lambda: None)
    assert begun == ["suspended"]
    assert not session.journal.read().done("final copy")
