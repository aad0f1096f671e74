"""Threads that work off chunks; nothing is said of what the work is."""

import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Protocol

from converter.engine.chunks import Chunk
from node.cleanup import signals_deferred
from node.errors import KitError

TICK = 0.2  # seconds
RESERVE = 64 << 20  # bytes of address space, for what is read and inflated


class Worker(Protocol):
    """What one thread does with each chunk that it takes."""

    def work(self, chunk: Chunk, number: int) -> None:
        """Does one chunk; `number` counts the chunks from 0 on, in order."""


class _StoppedError(Exception):
    """Another thread failed, or we were told to end."""


class Pool:
    """Works chunks off in several threads: begun in order, ended in any.

    Args:
        chunks: in order; the iterator is used under a lock, so it need not be safe for threads.
        start: where the first chunk starts.
    """

    def __init__(self, chunks: Iterator[Chunk], start: int) -> None:
        self._chunks = enumerate(chunks)
        self._take = threading.Lock()
        self._changed = threading.Condition()
        # Of chunks in work: by number, in order, the low watermark until they are done.
        self._begun: dict[int, int] = {}
        self._end = start  # the low watermark when the last chunk begun is done
        self._turn = 0
        self._failed: BaseException | None = None
        self._stopping = False
        self._ended = 0  # threads

    def low_watermark(self) -> int:
        """The place before which all is done."""
        with self._changed:
            return next(iter(self._begun.values()), self._end)

    def run(self, workers: Sequence[Worker], tick: Callable[[], None]) -> None:
        """Works all chunks off, a thread for each worker, calling `tick` now and then meanwhile.

        Where this process may not have so many threads, some workers are left out. Where it may
        have none, that is a KitError, before any chunk is begun.

        Raises what the first worker to fail raised, or what `tick` did, when all threads have
        ended the chunk that they were at. So does a signal: if it raised just where it comes, that
        could be with a lock taken, or before a thread that uses our files is known.
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
        tick()

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Inside, all chunks before this one have had their turn, and none after it."""
        with self._changed:
            self._changed.wait_for(lambda: self._turn == number or self._stopping)
            if self._stopping:
                raise _StoppedError
        yield
        with self._changed:
            self._turn += 1
            self._changed.notify_all()

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
    """Threads that do these pieces of work, or as many of the first ones as there may be.

    Some address space is set aside meanwhile: threads that took all of it (`ulimit -v`; each has a
    stack of 8 MiB) would leave none to work with.

    Raises:
        KitError: there may be none.
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
            f"threads: there may be none besides the first: {why}",
            hint="give it more: ulimit -u and -v of the shell, TasksMax and MemoryMax of its unit",
        ) from why
    return threads
