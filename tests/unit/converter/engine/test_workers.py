import hashlib
import threading
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.buffers import PAGE
from converter.engine.chunks import Chunk
from converter.engine.content import TargetContent
from converter.engine.digests import Sums, new_hash
from converter.engine.pool import Pool
from converter.engine.sinks import Writer
from converter.engine.workers import SAMPLE, CopyWorker, Counted, VerifyWorker
from converter.engine.written import Written
from converter.extents import CHUNK
from converter.target.device import Target
from node.errors import KitError
from tests.unit.converter.engine.sample_content import (
    OLD,
    SIZE,
    WANTED,
    content,
)
from tests.unit.converter.memory_source import MemoryTarget


def copy(
    what: TargetContent,
    target: MemoryTarget,
    *,
    start: int = 0,
    resumed: int = 0,
    digest: str | None = None,
    written: Written | None = None,
) -> tuple[str | None, Pool, int]:
    pool, counted = Pool(what.chunks(start), start), Counted(3)
    taken = new_hash(digest) if digest else None
    workers = [
        CopyWorker(
            what,
            what.source.reader(),
            Writer(target.as_target, target.as_zeroer, threading.Semaphore()),
            pool,
            counted=counted,
            number=number,
            resumed=resumed,
            digest=taken,
            written=written,
        )
        for number in range(3)
    ]
    pool.run(workers, lambda: None)
    return taken.hexdigest() if taken else None, pool, counted.total()


def test_every_byte_of_the_target_is_defined() -> None:
    target = MemoryTarget(OLD)
    _, pool, count = copy(content(), target)
    assert target.content == WANTED
    assert pool.low_watermark() == len(OLD)
    assert count == content().data() == 70_000 - 1000 + 500_000


@pytest.mark.parametrize("algorithm", ["sha256", "blake2b"])
def test_the_digest_is_that_of_the_disk_without_what_is_behind_it(algorithm: str) -> None:
    digest, *_ = copy(content(), MemoryTarget(OLD), digest=algorithm)
    assert digest == hashlib.new(algorithm, WANTED[:SIZE]).hexdigest()


def test_what_is_resumed_writes_the_rest_only() -> None:
    whole = list(content().chunks())
    for chunk in whole:
        target = MemoryTarget(OLD)
        *_, count = copy(content(), target, start=chunk.end, resumed=chunk.end)
        assert target.content == OLD[: chunk.end] + WANTED[chunk.end :]
        assert count + content().data_before(chunk.end) == content().data()


def test_a_digest_of_what_is_resumed_is_of_all() -> None:
    place = next(chunk.end for chunk in content().chunks())
    target = MemoryTarget(OLD)
    digest, *_ = copy(content(), target, resumed=place, digest="sha256")
    assert digest == hashlib.sha256(WANTED[:SIZE]).hexdigest()
    assert target.content == OLD[:place] + WANTED[place:]


def test_a_failing_read_ends_all_and_the_low_watermark_is_before_it() -> None:
    target = MemoryTarget(OLD)
    what = content(bad=[1000])
    pool = Pool(what.chunks(), 0)
    worker = CopyWorker(
        what,
        what.source.reader(),
        Writer(target.as_target, target.as_zeroer, threading.Semaphore()),
        pool,
        counted=Counted(1),
        number=0,
        digest=new_hash("sha256"),
    )
    with pytest.raises(KitError, match="at byte"):
        pool.run([worker], lambda: None)
    watermark = pool.low_watermark()
    assert 0 < watermark <= 70_000 + CHUNK
    assert target.content[:watermark] == WANTED[:watermark]


def verified(target: MemoryTarget, written: Written) -> int | None:
    back, counted = Sums(), Counted(2)
    workers = [
        VerifyWorker(target.as_target, back, sampled=False, counted=counted, number=number)
        for number in range(2)
    ]
    Pool(written.chunks(), 0).run(workers, lambda: None)
    assert counted.total() == written.total == len(OLD)
    return written.sums.first_difference(back)


def test_what_was_written_is_read_back() -> None:
    target, written = MemoryTarget(OLD), Written()
    copy(content(), target, written=written)
    assert verified(target, written) is None


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.integers(0, len(OLD) - 1), st.integers(0, 7))
def test_a_bit_that_fell_over_is_seen(place: int, bit: int) -> None:
    target, written = MemoryTarget(OLD), Written()
    copy(content(), target, written=written)
    target.content[place] ^= 1 << bit
    chunk = next(chunk for chunk in content().chunks() if chunk.end > place)
    if chunk.parts:
        assert verified(target, written) == 0
    else:
        with pytest.raises(KitError, match="between the bytes") as caught:
            verified(target, written)
        first, last = (int(word) for word in str(caught.value).split() if word.isdigit())
        assert first <= place < last and first % PAGE == 0


class Ranges:
    """A target of zeros but for one byte, which keeps in mind what was read of it."""

    path = Path("/dev/ranges")

    def __init__(self, wrong: int | None = None) -> None:
        self.wrong = wrong
        self.read: list[tuple[int, int]] = []

    def read_into(self, view: memoryview, place: int) -> None:
        view[:] = bytes(len(view))
        self.read.append((place, len(view)))
        if self.wrong is not None and place <= self.wrong < place + len(view):
            view[self.wrong - place] = 1


def read_back(target: Ranges, chunk: Chunk, *, sampled: bool) -> int:
    counted = Counted(1)
    worker = VerifyWorker(cast(Target, target), Sums(), sampled=sampled, counted=counted, number=0)
    worker.work(chunk, 0)
    return counted.total()


def test_zeros_are_read_back_in_full() -> None:
    target = Ranges()
    assert read_back(target, Chunk(PAGE, 3 * CHUNK, ()), sampled=False) == 3 * CHUNK - PAGE
    assert target.read == [
        (PAGE, CHUNK),
        (PAGE + CHUNK, CHUNK),
        (PAGE + 2 * CHUNK, CHUNK - PAGE),
    ]


def test_zeros_of_the_device_are_sampled_with_both_ends() -> None:
    target = Ranges()
    assert read_back(target, Chunk(0, 2 * SAMPLE + 100, ()), sampled=True) == 2 * SAMPLE + 100
    assert target.read == [
        (0, PAGE),
        (SAMPLE, PAGE),
        (2 * SAMPLE, 100),
        (2 * SAMPLE + 100 - PAGE, PAGE),
    ]


@pytest.mark.parametrize(("wrong", "sampled"), [(3 * CHUNK - 1, False), (3 * CHUNK - 1, True)])
def test_a_byte_that_is_not_zero_is_an_error(wrong: int, sampled: bool) -> None:
    with pytest.raises(KitError, match="/dev/ranges"):
        read_back(Ranges(wrong), Chunk(0, 3 * CHUNK, ()), sampled=sampled)
