"""The time that a last pass may take."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from converter import Silent
from importer import journal
from importer.copying import final
from importer.copying.carry import Carried
from importer.copying.final import Finished, Stop
from importer.copying.jobs.job import Place
from importer.copying.rate import Rate
from importer.copying.session import Session
from importer.journal import ImportState, Journal, Pass
from node.cleanup import signal_waits, signals_blocked, signals_deferred
from node.errors import KitError
from node.run import Result
from tests.unit.importer.copying.source import (
    DIRECTORY,
    GIB,
    PLAN,
    POINT,
    SOCKET,
    TOKEN,
    seen,
    sizes,
)
from tests.unit.importer.fake_host import FakeHost

MIB = 1 << 20
# Of vda 100 MiB are dirty, 2 s; vdb has 20 GiB to compare, 20 s; and a second for the rest.
FIRST = Pass(1, False, POINT, 1.0, complete=True, copy_rate=50.0 * MIB, compare_rate=float(GIB))
DIRTY = {"checkpoints": POINT, "sizes": sizes(POINT, f"size='{100 * MIB}'")}


def ready() -> None:
    """Ganeti would adopt the volumes."""


class Source(FakeHost):
    """A domain that runs until it is suspended or off; the connection holds."""

    def __init__(self) -> None:
        super().__init__(self._answered)
        self.state = "running"

    def _answered(self, argv: list[str]) -> Result:
        if "resume" in argv or "start" in argv:
            self.state = "running"
        reason = {"running": "booted", "paused": "user", "shut off": "shutdown"}[self.state]
        return Result(0, f"{self.state} ({reason})" if "domstate" in argv else "", "")

    def is_lost(self) -> bool:
        return False


class Watching:
    """A watch without a script."""

    failure = None

    def __init__(self) -> None:
        self.ended = False

    def arm(self, _: str) -> None:
        pass

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with journal.begun(PLAN, "text", tmp_path / "imports") as record:
        record.update(_copied)
        yield Session(Source(), PLAN, record, {}, Silent())


def _copied(state: ImportState) -> ImportState:
    return replace(state, passes=(FIRST,), source_directory=DIRECTORY)


@pytest.fixture
def _looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `run` does beside the pass."""
    monkeypatch.setattr(final, "look", lambda *_: seen(POINT, **DIRTY))
    monkeypatch.setattr(final.passes, "run", lambda _: None)


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch, _looked: None) -> list[float | None]:
    """The limits of passes that were begun."""
    began: list[float | None] = []

    def begin(_session: Session, _facts: object, _stop: Stop, limit: float | None) -> Finished:
        began.append(limit)
        return Finished(FIRST, "off", [])

    monkeypatch.setattr(final, "_suspended", begin)
    monkeypatch.setattr(final, "_shut_down", begin)
    return began


def test_the_estimate_knows_the_rate() -> None:
    def seconds(rate: Rate | None) -> float | None:
        facts = seen(POINT, **DIRTY)
        return final.expected(PLAN, (FIRST,), facts, rate, suspend=True)[1].seconds

    assert seconds(None) == seconds(Rate(GIB)) == 23.0
    assert seconds(Rate(10 * MIB)) == 31.0


@pytest.mark.parametrize("suspend", [True, False])
def test_what_takes_too_long_is_not_begun(
    session: Session, limits: list[float | None], suspend: bool
) -> None:
    with pytest.raises(KitError) as caught:
        final.run(session, Stop(suspend, max_downtime=10), ready)
    assert caught.value.message == (
        "copy of web: its last pass takes about 23 s, but may take 10 s; it was not stopped"
    )
    assert limits == []


@pytest.mark.parametrize("state", ["running (booted)", "shut off (shutdown)"])
def test_what_ganeti_would_not_adopt_is_not_stopped(
    session: Session, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    def refuse() -> None:
        raise KitError("Ganeti would not make web: no", hint="")

    monkeypatch.setattr(final, "look", lambda *_: pytest.fail("a pass begins"))
    session.host.state = state.split(" (")[0]  # type: ignore[attr-defined]
    with pytest.raises(KitError, match="Ganeti would not make web: no"):
        final.run(session, Stop(), refuse)
    assert session.journal.read().stopped_by_us is None


def test_a_machine_that_a_killed_run_has_stopped_runs_before_ganeti_is_asked(
    session: Session,
) -> None:
    def refuse() -> None:
        raise KitError(session.host.state, hint="")  # type: ignore[attr-defined]

    session.host.state = "paused"  # type: ignore[attr-defined]
    session.journal.update(lambda state: replace(state, stopped_by_us="suspended"))
    with pytest.raises(KitError, match="running"):
        final.run(session, Stop(), refuse)


@pytest.mark.parametrize(("given", "expected"), [(30, 30), (None, 300.0)])
def test_the_limit_of_a_pass(
    session: Session,
    limits: list[float | None],
    caplog: pytest.LogCaptureFixture,
    given: int | None,
    expected: float,
) -> None:
    caplog.set_level("INFO")
    final.run(session, Stop(suspend=True, max_downtime=given), ready)
    assert limits == [expected]
    assert f"about 23 s, at most {expected:.0f} s" in caplog.text


def test_a_domain_that_somebody_has_suspended_has_no_limit(
    session: Session, limits: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(final, "look", lambda *_: seen(POINT, state="paused (user)", **DIRTY))
    final.run(session, Stop(suspend=True, max_downtime=1), ready)
    assert limits == [None]


def _waits() -> NoReturn:
    """As a thread of a copy does, whose server does not answer."""

    def wait() -> None:
        deadline = time.monotonic() + 30
        while not signal_waits() and time.monotonic() < deadline:
            time.sleep(0.01)

    with signals_deferred():
        with signals_blocked():
            thread = threading.Thread(target=wait)
            thread.start()
        thread.join()
    raise AssertionError("it was not ended")


def _sleeps() -> NoReturn:
    """As what waits in the main thread."""
    time.sleep(30)
    raise AssertionError("it was not ended")


@pytest.mark.usefixtures("_no_timer", "_looked")
@pytest.mark.parametrize("hangs", [_waits, _sleeps])
@pytest.mark.parametrize("suspend", [True, False])
def test_after_the_limit_it_runs_again(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    suspend: bool,
    hangs: Callable[[], NoReturn],
) -> None:
    host, watch = session.host, Watching()
    assert isinstance(host, Source)

    def stopped(state: str, value: Any) -> Any:
        host.state = state
        return value

    def carry(*_: object, **__: object) -> NoReturn:
        assert host.state != "running"
        hangs()

    place = Place(DIRECTORY, TOKEN, SOCKET)
    monkeypatch.setattr(final.job, "prepare", lambda *_: place)
    monkeypatch.setattr(final, "watched", lambda *_, **__: nullcontext(watch))
    monkeypatch.setattr(final, "_begin_suspended", lambda *_: stopped("paused", 0.0))
    monkeypatch.setattr(final, "_await_off", lambda *_: stopped("shut off", None))
    monkeypatch.setattr(final, "shut_down", lambda *_: seen(POINT, **DIRTY))
    monkeypatch.setattr(final.passes, "exported", lambda *_: nullcontext([]))
    monkeypatch.setattr(final.passes, "images", lambda *_, **__: nullcontext([]))
    monkeypatch.setattr(final.passes, "carry", carry)
    monkeypatch.setattr(final.methods, "limit", lambda *_: 0.2)
    with pytest.raises(KitError, match=r"copy of web: its last pass is not complete after 1 s"):
        final.run(session, Stop(suspend), ready)
    assert host.state == "running"
    assert watch.ended
    state = session.journal.read()
    assert state.stopped_by_us is None
    assert not state.done("final copy")
    assert not state.passes[-1].complete


@pytest.fixture
def suspending(
    session: Session, monkeypatch: pytest.MonkeyPatch, _looked: None
) -> tuple[Source, Watching]:
    """A last pass that suspends, and copies nothing."""
    host, watch = session.host, Watching()
    assert isinstance(host, Source)

    def begin(*_: object) -> float:
        host.state = "paused"
        return 0.0

    monkeypatch.setattr(final.job, "prepare", lambda *_: Place(DIRECTORY, TOKEN, SOCKET))
    monkeypatch.setattr(final, "watched", lambda *_, **__: nullcontext(watch))
    monkeypatch.setattr(final, "_begin_suspended", begin)
    monkeypatch.setattr(final, "clean", lambda *_: [])
    monkeypatch.setattr(final.passes, "exported", lambda *_: nullcontext([]))
    monkeypatch.setattr(final.passes, "carry", lambda _, current, *__: (Carried(), current))
    return host, watch


@pytest.mark.parametrize(("destroy", "expected"), [(False, "suspended"), (True, "off")])
def test_a_last_pass_tells_how_it_leaves_the_domain(
    session: Session, suspending: tuple[Source, Watching], destroy: bool, expected: str
) -> None:
    finished = final.run(session, Stop(suspend=True, destroy=destroy), ready)
    assert finished.state == expected
    assert suspending[1].ended and session.journal.read().done("final copy")


@pytest.mark.usefixtures("suspending")
def test_a_domain_that_was_suspended_before_stays_so(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It cannot shut down, though that is asked for."""
    assert isinstance(session.host, Source)
    session.host.state = "paused"
    caplog.set_level("INFO")
    monkeypatch.setattr(final, "look", lambda *_: seen(POINT, state="paused (user)", **DIRTY))
    assert final.run(session, Stop(), ready).state == "suspended"
    assert "web is suspended already, and is not shut down" in caplog.text


@pytest.mark.parametrize("before", ["running (booted)", "paused (user)"])
def test_a_domain_that_somebody_resumed_has_no_last_pass(
    session: Session,
    suspending: tuple[Source, Watching],
    monkeypatch: pytest.MonkeyPatch,
    before: str,
) -> None:
    """What it has written since is in no copy: adopt must not take it for complete."""
    host, watch = suspending

    def carry(_: Session, current: Pass, *__: object) -> tuple[Carried, Pass]:
        host.state = "running"
        return Carried(), current

    monkeypatch.setattr(final, "look", lambda *_: seen(POINT, state=before, **DIRTY))
    monkeypatch.setattr(final.passes, "carry", carry)
    with pytest.raises(KitError, match="it is running, though it was suspended"):
        final.run(session, Stop(suspend=True), ready)
    state = session.journal.read()
    assert not state.done("final copy") and not state.passes[-1].complete
    assert state.stopped_by_us is None
    assert watch.ended


def test_the_journal_has_no_pass_that_was_not_begun(
    session: Session, limits: list[float | None]
) -> None:
    record: Journal = session.journal
    with pytest.raises(KitError):
        final.run(session, Stop(suspend=True, max_downtime=1), ready)
    assert record.read().passes == (FIRST,)
    assert record.read().stopped_by_us is None
    assert limits == []


@pytest.mark.parametrize(
    ("left", "expected"), [([], ""), (["qemu-img bitmap --remove x"], DIRECTORY), (None, DIRECTORY)]
)
def test_what_is_left_on_the_host_is_noted(
    session: Session, monkeypatch: pytest.MonkeyPatch, left: list[str] | None, expected: str
) -> None:
    """`finish` says that something is there, and `abort` looks for it."""

    def clean(*_: object) -> list[str]:
        if left is None:
            raise KitError("libvirt does not answer", hint="")
        return left

    monkeypatch.setattr(final, "clean", clean)
    assert final._finished(session, FIRST, "off", 1.0).left == (left or [])
    assert session.journal.read().source_directory == expected
