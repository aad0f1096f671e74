"""A lost connection is made again, but not for ever."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from importer import journal
from importer.copying import reconnect
from importer.copying.reconnect import PAUSES, with_host
from importer.errors import HostLost
from importer.host.connection import KvmHost
from tests.unit.importer.copying.source import PLAN
from tests.unit.importer.fake_host import FakeHost, said

LOST = HostLost("kvm1", "cut")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(reconnect.time, "sleep", found.append)
    return found


def reached(monkeypatch: pytest.MonkeyPatch, *attempts: bool) -> None:
    """Whether the host can be reached, for each attempt; then always."""
    left = list(attempts)

    @contextmanager
    def connected(_: str) -> Iterator[KvmHost]:
        if left and not left.pop(0):
            raise LOST
        yield FakeHost(said())

    monkeypatch.setattr(reconnect, "connected", connected)


def lost_for(times: int) -> Callable[[KvmHost], str]:
    left = [LOST] * times

    def act(_: KvmHost) -> str:
        if left:
            raise left.pop()
        return "done"

    return act


def test_a_host_that_cannot_be_reached_at_first_is_an_error(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    reached(monkeypatch, False)
    with pytest.raises(HostLost):
        with_host("kvm1", lost_for(0))
    assert pauses == []


def test_a_lost_connection_is_made_again(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    reached(monkeypatch, True, False, True, True)
    assert with_host("kvm1", lost_for(2)) == "done"
    assert pauses == list(PAUSES[:3])


def test_at_some_time_it_is_given_up(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    reached(monkeypatch)
    with pytest.raises(HostLost):
        with_host("kvm1", lost_for(len(PAUSES) + 1))
    assert pauses == list(PAUSES)


@pytest.mark.parametrize(("is_copied", "expected"), [(False, None), (True, "suspended")])
def test_a_domain_whose_last_pass_is_complete_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_copied: bool, expected: str | None
) -> None:
    """The connection may be lost after it, when a suspended domain is switched off."""
    host = FakeHost(said("paused (user)"))

    @contextmanager
    def connected(_: str) -> Iterator[KvmHost]:
        yield host

    monkeypatch.setattr(reconnect, "connected", connected)
    with journal.begun(PLAN, "text", tmp_path) as record:
        record.update(lambda state: replace(state, stopped_by_us="suspended"))
        if is_copied:
            record.completed("final copy")
        reconnect.settle(PLAN, record)
        assert record.read().stopped_by_us == expected
    assert any("resume" in argv for argv in host.asked) == (not is_copied)
