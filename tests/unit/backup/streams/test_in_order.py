"""Frames that threads give in any order are written in order."""

import random
import threading
import time

import pytest
import xxhash

from backup.streams import in_order
from backup.streams.in_order import DigestInOrder, InOrder, Packed, Rooms
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
            order.put(number, Chunk(number, number + 1, ()), Packed(b"x" * (1 << 20), b""), going)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == list(range(500))


@pytest.mark.parametrize("count", [2, in_order.MOST_WAITING])
def test_no_more_waits_than_memory_is_for(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first frame takes long, and where all is about to end."""
    monkeypatch.setattr(in_order, "WAIT", 0.001)
    order = InOrder(lambda *_: None)
    piece = Packed(b"x" * (in_order.MOST // count), b"")

    def put(number: int) -> None:
        order.put(number, Chunk(number, number + 1, ()), piece, stopping)

    def stopping() -> None:
        raise KeyboardInterrupt

    for number in range(1, 1 + count):
        put(number)
    with pytest.raises(KeyboardInterrupt):
        put(count + 1)
    put(0)
    put(count + 1)


def test_many_small_frames_do_not_wait_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps a room that may have been full before."""
    monkeypatch.setattr(in_order, "WAIT", 0.001)
    order = InOrder(lambda *_: None)

    def stopping() -> None:
        raise KeyboardInterrupt

    def put(count: int) -> None:
        for number in range(1, 1 + count):
            order.put(number, Chunk(number, number + 1, ()), Packed(b"x", b""), stopping)

    put(in_order.MOST_WAITING)
    with pytest.raises(KeyboardInterrupt):
        put(in_order.MOST_WAITING + 1)


def test_a_room_is_for_one_at_a_time() -> None:
    rooms = Rooms(4096)
    one, other = rooms.take(), rooms.take()
    assert one is not other
    rooms.give_back(one)
    assert rooms.take() is one


def test_a_digest_is_that_of_all_in_order() -> None:
    pieces = [bytes([number]) * 16 for number in range(100)]
    expected = xxhash.xxh3_128(b"".join(pieces)).hexdigest()
    numbers = list(range(100))
    for seed in range(3):
        random.Random(seed).shuffle(numbers)
        digest = DigestInOrder()
        for number in numbers:
            digest.put(number, pieces[number])
        assert digest.hexdigest() == expected
