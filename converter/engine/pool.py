"""A pool of threads that process chunks, whatever the work is."""

import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Protocol

from converter.engine.chunks import Chunk
from node.cleanup import raise_waiting, signals_deferred
from node.errors import KitError

TICK = 0.2  # seconds
RESERVE = 64 << 20  # bytes of address space kept free for reading and inflating


class Worker(Protocol):
    """The work of one thread."""

    def work(self, chunk: Chunk, number: int) -> None:
        """Processes one chunk; `number` counts the chunks from 0 on, in order."""


class _StoppedError(Exception):
    """Another thread failed, or the run has to end."""


class Pool:
    """Processes chunks in several threads: they begin in order, and may end in any order.

    Args:
        chunks: in order; the iterator is used under a lock, so it need not be safe for threads.
        start: the offset of the first chunk, bytes.
    """

    def __init__(self, chunks: Iterator[Chunk], start: int) -> None:
        self._chunks = enumerate(chunks)
        self._take = threading.Lock()
        self._changed = threading.Condition()
        # The chunks being processed, by number in order: the low watermark until each is done.
        self._begun: dict[int, int] = {}
        self._end = start  # the low watermark once all chunks that were begun are done
        self._turn = 0
        self._failed: BaseException | None = None
        self._stopping = False
        self._ended = 0  # threads

    def low_watermark(self) -> int:
        """The offset before which everything is done, bytes."""
        with self._changed:
            return next(iter(self._begun.values()), self._end)

    def run(self, workers: Sequence[Worker], tick: Callable[[], None]) -> None:
        """Processes all chunks, with a thread for each worker, and calls `tick` every TICK seconds.

        If the process may not start that many threads, some workers are left out. If it may start
        none, that is a KitError before any chunk is begun.

        Raises the error of the first worker that fails, or of `tick`, after all threads have
        finished their chunk. A signal also waits for that: raised at once, it could come while a
        lock is held, or before a thread that uses our files is registered. Any thread may run a
        pool, as long as the main thread is within `signals_deferred`.
        """
        threads: list[threading.Thread] = []
        with signals_deferred() as signalled:
            try:
                threads += _started([partial(self._work, worker) for worker in workers])
                while self._ended < len(threads) and not signalled():
                    with self._changed:
                        self._changed.wait_for(lambda: self._ended == len(threads), TICK)
                    tick()
            finally:
                self._stop()
                for thread in threads:
                    thread.join()
        if self._failed is not None:
            raise self._failed
        raise_waiting()  # within another block, the chunks may not all be done
        tick()

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Waits until all chunks before this one have had their turn; later ones wait for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._turn == number or self._stopping)
            if self._stopping:
                raise _StoppedError
        yield
        with self._changed:
            self._turn += 1
            self._changed.notify_all()

    def require_going(self) -> None:
        """Ends a worker that waits for something else, once the pool is about to end."""
        if self._stopping:
            raise _StoppedError

    def _stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _work(self, worker: Worker) -> None:
        try:
            while (taken := self._next()) is not None:
                number, chunk = taken
                worker.work(chunk, number)
                with self._changed:
                    del self._begun[number]
        except _StoppedError:
            pass
        except BaseException as error:
            with self._changed:
                self._failed = self._failed or error
            self._stop()
        finally:
            with self._changed:
                self._ended += 1
                self._changed.notify_all()

    def _next(self) -> tuple[int, Chunk] | None:
        with self._take:
            if self._stopping:
                return None
            taken = next(self._chunks, None)
            if taken is not None:
                number, chunk = taken
                before, after = chunk.start, chunk.end
                if chunk.done_before is not None:
                    before = after = chunk.done_before
                with self._changed:
                    self._begun[number], self._end = before, after
            return taken


def _started(work: Sequence[Callable[[], None]]) -> list[threading.Thread]:
    """Starts a thread for each function; if a limit is reached, only for the first ones.

    Some address space is reserved meanwhile: threads that took all of it (`ulimit -v`; each has a
    stack of 8 MiB) would leave none for their work.

    Raises:
        KitError: no thread could be started.
    """
    threads: list[threading.Thread] = []
    why: BaseException | None = None
    try:
        with closing(mmap.mmap(-1, RESERVE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)):
            for each in work:
                thread = threading.Thread(target=each)
                thread.start()
                threads.append(thread)
    except (RuntimeError, MemoryError, OSError) as error:
        why = error
    if not threads and work:
        raise KitError(
            f"threads: none can be started: {why}",
            hint="raise ulimit -u and -v of the shell, or TasksMax and MemoryMax of the unit",
        ) from why
    return threads
