"""A rate that several readers share, by a clock that stands still but for sleeps."""

from collections.abc import Sequence

import pytest

from converter import Extent, Kind
from converter.extents import CHUNK
from importer.copying import rate
from importer.copying.rate import LimitedSource, Rate
from tests.unit.converter.memory_source import MemorySource

DATA = Extent(0, 1000, Kind.DATA)


class Clock:
    """What time.monotonic and time.sleep do."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= rate.TICK
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate, "time", clock)
    return clock


def read(sources: Sequence[LimitedSource], times: int) -> None:
    readers = [source.reader() for source in sources]
    for _ in range(times):
        for reader in readers:
            view = memoryview(bytearray(1000))
            reader.read([DATA], view, 0)
            assert view == b"x" * 1000
    for reader in readers:
        reader.close()


def test_all_copies_together_keep_to_the_rate(clock: Clock) -> None:
    shared = Rate(2000)
    memory = MemorySource(b"x" * 1000, [DATA])
    read([LimitedSource(memory, shared), LimitedSource(memory, shared)], 10)
    assert clock.now - 100 == pytest.approx(19 * 1000 / 2000)  # the last one is not waited for
    assert memory.open_readers == 0


def test_what_was_not_used_is_not_made_up_for(clock: Clock) -> None:
    limit = Rate(1000)
    limit.take(1000)
    clock.now += 50
    limit.take(1000)
    limit.take(1000)
    assert clock.now == pytest.approx(151)


def test_a_signal_is_not_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Rate(1)
    limit.take(1000)
    monkeypatch.setattr(rate, "signal_waits", lambda: clock.now > 103)
    limit.take(1)
    assert clock.now < 104


@pytest.mark.parametrize(
    ("bytes_per_second", "readers"), [(1, 1), (CHUNK, 2), (3 * CHUNK, 6), (1 << 40, 7)]
)
def test_a_slow_copy_has_few_readers_and_ends_soon(bytes_per_second: int, readers: int) -> None:
    memory = MemorySource(b"x" * 1000, [DATA])
    memory.readers = 7
    assert LimitedSource(memory, Rate(bytes_per_second)).readers == readers


def test_no_rate_is_no_limit_of_zero() -> None:
    with pytest.raises(ValueError, match="rate 0"):
        Rate(0)
