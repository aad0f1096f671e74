import hashlib
from typing import get_args

import pytest
import xxhash

from converter.engine.digests import REGION, Sums, new_hash, update_zeros
from converter.options import Algorithm

ONE, TWO = memoryview(b"one" * 100), memoryview(b"two" * 100)


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_zeros_count_like_any_bytes(algorithm: Algorithm) -> None:
    digest = new_hash(algorithm)
    digest.update(ONE)
    update_zeros(digest, (3 << 20) + 5)
    content = bytes(ONE) + bytes((3 << 20) + 5)
    of = {"sha256": hashlib.sha256, "blake2b": hashlib.blake2b, "xxh3": xxhash.xxh3_128}
    assert digest.hexdigest() == of[algorithm](content).hexdigest()


def summed(*chunks: tuple[int, memoryview]) -> Sums:
    sums = Sums()
    for start, view in chunks:
        sums.add(start, view)
    return sums


def test_the_order_of_threads_does_not_matter() -> None:
    assert summed((0, ONE), (4096, TWO)).first_difference(summed((4096, TWO), (0, ONE))) is None


def test_places_matter() -> None:
    assert summed((0, ONE), (4096, TWO)).first_difference(summed((0, TWO), (4096, ONE))) == 0


def test_the_region_of_a_difference_is_told() -> None:
    one = summed((0, ONE), (5 * REGION, ONE), (7 * REGION, ONE))
    other = summed((0, ONE), (5 * REGION, ONE), (7 * REGION, TWO))
    assert one.first_difference(other) == 7 * REGION


def test_what_is_missing_differs() -> None:
    assert summed((0, ONE)).first_difference(summed()) == 0
    assert summed().first_difference(summed((REGION, ONE))) == REGION
