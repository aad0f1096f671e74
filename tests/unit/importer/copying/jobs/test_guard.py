"""What happens around a pass when it fails."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from converter import Silent, SourceLost
from importer import journal
from importer.copying import final
from importer.copying.jobs import guard
from importer.copying.jobs.job import Place
from importer.copying.jobs.watch import Watch
from importer.copying.session import Session
from importer.errors import CopiesFailed, HostLost
from importer.journal import Journal
from node.errors import KitError
from node.run import Result
from tests.unit.importer.copying.source import DIRECTORY, PLAN, SOCKET, TOKEN
from tests.unit.importer.fake_host import FakeHost

PLACE = Place(DIRECTORY, TOKEN, SOCKET)
OFF = "shut off (shutdown)"


class Source(FakeHost):
    """A domain in one state; the connection holds."""

    def __init__(self, state: str, done: list[str]) -> None:
        super().__init__(self._answered)
        self._state = state
        self._done = done

    def _answered(self, argv: list[str]) -> Result:
        if "domstate" in argv:
            return Result(0, self._state, "")
        self._done.append("end job" if argv[:2] == ["sh", "-euc"] else argv[4])
        return Result(0, "", "")

    def is_lost(self) -> bool:
        return False


class Watching:
    """A watch without a script."""

    failure = None

    def __init__(self, done: list[str]) -> None:
        self._done = done

    def end(self) -> None:
        self._done.append("end watch")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Journal]:
    with journal.begun(PLAN, "text", tmp_path / "imports") as opened:
        yield opened


@pytest.mark.parametrize("fails", [False, True])
def test_the_job_is_watched_until_it_has_ended(record: Journal, fails: bool) -> None:
    done: list[str] = []
    session = Session(Source("running (booted)", done), PLAN, record, {}, Silent())
    watch = cast(Watch, Watching(done))
    try:
        with guard.ending(session, PLACE, watch):
            if fails:
                raise KitError("it failed", hint="")
    except KitError:
        assert fails
    assert done == ["end job", "end watch"]


def test_a_suspended_domain_runs_before_its_job_ends(record: Journal) -> None:
    done: list[str] = []
    record.update(lambda state: replace(state, stopped_by_us="suspended"))
    session = Session(Source("paused (user)", done), PLAN, record, {}, Silent())
    with (
        pytest.raises(KitError, match="it failed"),
        final._running_again(session, cast(Watch, Watching(done)), PLACE),
    ):
        raise KitError("it failed", hint="")
    assert done == ["resume", "domfsthaw", "end job", "end watch"]


def test_a_guest_that_may_still_shut_down_stays_watched(record: Journal) -> None:
    done: list[str] = []
    record.update(lambda state: replace(state, stopped_by_us="shut down"))
    session = Session(Source("running (booted)", done), PLAN, record, {}, Silent())
    with (
        pytest.raises(KitError),
        final._running_again(session, cast(Watch, Watching(done)), PLACE),
    ):
        raise KitError("it failed", hint="")
    assert done == ["end job"]


def test_an_agent_or_server_that_is_gone_with_the_connection_is_a_lost_connection(
    record: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Source("running (booted)", [])
    monkeypatch.setattr(host, "is_lost", lambda: True)
    session = Session(host, PLAN, record, {}, Silent())
    error = SourceLost("source web disk vdb: the agent on the KVM host: gone")
    with pytest.raises(HostLost, match="gone"), guard.explained(session, cast(Watch, Watching([]))):
        raise CopiesFailed(error, {"vdb": error}, {})


def test_a_guest_that_shuts_down_late_is_started(record: Journal) -> None:
    """An earlier final pass has told it to; the next pass took over from the watching script."""
    done: list[str] = []
    record.update(lambda state: replace(state, stopped_by_us="shut down"))
    session = Session(Source(OFF, done), PLAN, record, {}, Silent())
    with (
        pytest.raises(KitError, match="as an earlier final pass told it to; it runs again"),
        guard.explained(session, cast(Watch, Watching(done))),
    ):
        raise KitError("the source is lost", hint="")
    assert done == ["start"]
    assert record.read().stopped_by_us is None


def test_a_guest_that_somebody_else_shut_down_is_not_started(record: Journal) -> None:
    done: list[str] = []
    session = Session(Source(OFF, done), PLAN, record, {}, Silent())
    with (
        pytest.raises(KitError, match="it is off now"),
        guard.explained(session, cast(Watch, Watching(done))),
    ):
        raise KitError("the source is lost", hint="")
    assert done == []


def test_an_error_is_told_although_libvirt_does_not_answer(record: Journal) -> None:
    host = FakeHost(lambda _: Result(1, "", "no connection"))
    host.is_lost = lambda: False  # type: ignore[method-assign]
    session = Session(host, PLAN, record, {}, Silent())
    with (
        pytest.raises(KitError, match="the source is lost"),
        guard.explained(session, cast(Watch, Watching([]))),
    ):
        raise KitError("the source is lost", hint="")
