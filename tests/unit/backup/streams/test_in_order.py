"""Frames that threads give in any order are written in order."""

import random
import threading
import time

import pytest

from backup.streams import in_order
from backup.streams.in_order import InOrder
from converter.engine.chunks import Chunk


def going() -> None:
    pass


def test_frames_are_written_in_order_whatever_order_they_come_in() -> None:
    written: list[int] = []
    order = InOrder(lambda chunk, *_: written.append(chunk.start))
    numbers = iter(range(500))
    lock = threading.Lock()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            time.sleep(chance.random() / 1000)
            order.put(number, Chunk(number, number + 1, ()), b"x" * (1 << 20), b"", going)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == list(range(500))


def test_no_more_waits_than_memory_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first frame takes long, and where all is about to end."""
    monkeypatch.setattr(in_order, "WAIT", 0.001)
    order = InOrder(lambda *_: None)
    piece = b"x" * (in_order.MOST // 2)
    for number in (1, 2):
        order.put(number, Chunk(number, number + 1, ()), piece, b"", going)

    def stopping() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        order.put(3, Chunk(3, 4, ()), piece, b"", stopping)
    order.put(0, Chunk(0, 1, ()), piece, b"", stopping)
    order.put(3, Chunk(3, 4, ()), piece, b"", stopping)
