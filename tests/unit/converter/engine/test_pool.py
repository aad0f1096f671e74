import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from converter.engine.chunks import Chunk
from converter.engine.pool import Pool
from node.cleanup import Terminated, signals_deferred, signals_raise
from node.errors import KitError


def numbered(count: int) -> Iterator[Chunk]:
    return (Chunk(n * 10, n * 10 + 10, ()) for n in range(count))


class Doing:
    def __init__(self, do: Callable[[Chunk, int], None]) -> None:
        self.work = do


def test_every_chunk_is_worked_off_once_and_the_low_watermark_ends_at_the_end() -> None:
    done: list[int] = []
    pool = Pool(numbered(200), 0)
    pool.run([Doing(lambda _chunk, number: done.append(number))] * 4, lambda: None)
    assert sorted(done) == list(range(200))
    assert pool.low_watermark() == 2000


def test_the_low_watermark_is_before_the_first_chunk_in_work() -> None:
    pool, watermarks = Pool(numbered(3), 0), []
    first_may_end = threading.Event()

    def work(_chunk: Chunk, number: int) -> None:
        if number == 0:
            assert first_may_end.wait(10)
        if number == 2:
            watermarks.append(pool.low_watermark())
            first_may_end.set()

    pool.run([Doing(work)] * 2, lambda: None)
    assert watermarks == [0]
    assert pool.low_watermark() == 30


def test_chunks_out_of_order_are_done_up_to_done_before() -> None:
    ordered = [Chunk(10, 20, (), 0), Chunk(30, 40, (), 0), Chunk(0, 10, ()), Chunk(20, 30, ())]
    pool, watermarks = Pool(iter(ordered), 0), []
    pool.run([Doing(lambda _chunk, _number: watermarks.append(pool.low_watermark()))], lambda: None)
    assert watermarks == [0, 0, 0, 20]
    assert pool.low_watermark() == 30


def test_a_mark_of_what_is_resumed_is_where_it_began() -> None:
    assert Pool(iter(()), 50).low_watermark() == 50


def test_turns_are_taken_in_order() -> None:
    pool, order = Pool(numbered(50), 0), []

    def work(_chunk: Chunk, number: int) -> None:
        time.sleep(0.001 * (number % 3))
        with pool.turn(number):
            order.append(number)

    pool.run([Doing(work)] * 4, lambda: None)
    assert order == list(range(50))


def test_the_first_failure_is_raised_and_others_stop() -> None:
    pool, done = Pool(numbered(10_000), 0), []

    def work(_chunk: Chunk, number: int) -> None:
        if number == 3:
            raise ValueError("third")
        with pool.turn(number):
            done.append(number)

    with pytest.raises(ValueError, match="third"):
        pool.run([Doing(work)] * 4, lambda: None)
    assert len(done) <= 3
    assert pool.low_watermark() <= 30


def test_what_a_tick_raises_ends_all() -> None:
    class Told(BaseException):
        pass

    def tick() -> None:
        raise Told

    pool = Pool(numbered(1_000_000), 0)
    before = threading.active_count()
    with pytest.raises(Told):
        pool.run([Doing(lambda _chunk, _number: time.sleep(0.01))] * 2, tick)
    assert threading.active_count() == before
    assert pool.low_watermark() < 10_000_000


def test_chunks_that_cannot_be_made_are_a_failure() -> None:
    def broken() -> Iterator[Chunk]:
        yield Chunk(0, 10, ())
        raise OSError("table")

    with pytest.raises(OSError, match="table"):
        Pool(broken(), 0).run([Doing(lambda _chunk, _number: None)] * 2, lambda: None)


@pytest.mark.parametrize("moment", ["start", "lock", "join"])
def test_a_signal_waits_until_no_thread_is_at_work(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it comes at the worst of moments: no lock stays taken, and no thread is forgotten."""
    pool, sent = Pool(numbered(1000), 0), []

    def once() -> None:
        if not sent and threading.current_thread() is threading.main_thread():
            sent.append(True)
            signal.raise_signal(signal.SIGTERM)

    class Lock(threading.Condition):
        def __enter__(self) -> bool:
            taken = super().__enter__()
            if moment == "lock":
                once()
            return taken

    class Thread(threading.Thread):
        def start(self) -> None:
            super().start()
            if moment == "start":
                once()

        def join(self, timeout: float | None = None) -> None:
            if moment == "join":
                once()
            super().join(timeout)

    pool._changed = Lock()
    monkeypatch.setattr(threading, "Thread", Thread)
    working = []

    def work(_chunk: Chunk, number: int) -> None:
        working.append(number)
        time.sleep(0.002)
        working.remove(number)
        if moment == "join" and number == 9:
            raise ValueError("so that threads are joined while others work")

    with signals_raise():
        with pytest.raises(Terminated):
            pool.run([Doing(work)] * 4, lambda: None)
        assert sent and not working
    assert pool.low_watermark() < 10_000


class Scarce:
    """Lets so many threads begin, as a process that is limited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        started = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            nonlocal count
            if not count:
                raise RuntimeError("can't start new thread")
            count -= 1
            started(thread)

        monkeypatch.setattr(threading.Thread, "start", start)


def test_fewer_threads_do_all_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    Scarce(monkeypatch, 2)
    done: list[int] = []
    pool = Pool(numbered(50), 0)

    def work(_chunk: Chunk, number: int) -> None:
        with pool.turn(number):
            done.append(number)

    pool.run([Doing(work)] * 16, lambda: None)
    assert done == list(range(50))


def test_without_any_thread_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    Scarce(monkeypatch, 0)
    done: list[int] = []
    pool = Pool(numbered(50), 0)
    with pytest.raises(KitError, match="none can be started") as caught:
        pool.run([Doing(lambda _chunk, number: done.append(number))] * 16, lambda: None)
    assert caught.value.hint is not None and "ulimit -u" in caught.value.hint
    assert done == [] and pool.low_watermark() == 0


def test_address_space_is_set_aside_for_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_args: object, **_more: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("converter.engine.pool.mmap.mmap", none)
    with pytest.raises(KitError, match="Cannot allocate memory"):
        Pool(numbered(50), 0).run([Doing(lambda *_: None)], lambda: None)


def test_a_signal_ends_a_pool_within_an_outer_block_too() -> None:
    """Run by another thread, as several copies at once are: it must not count as done."""
    pool, raised = Pool(numbered(10_000), 0), []

    def work(_chunk: Chunk, _number: int) -> None:
        time.sleep(0.001)

    def run() -> None:
        try:
            pool.run([Doing(work)], lambda: None)
        except Terminated as terminated:
            raised.append(terminated.number)

    with pytest.raises(Terminated), signals_raise(), signals_deferred():  # noqa: PT012
        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.02)
        signal.raise_signal(signal.SIGTERM)
        thread.join(10)
        assert raised == [signal.SIGTERM]
    assert pool.low_watermark() < 100_000
