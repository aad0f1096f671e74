"""Digests of a disk's content: one over the whole disk in order, and sums in any order."""

import threading
from typing import Protocol

import xxhash

from converter.buffers import buffer
from converter.options import Algorithm

REGION = 1 << 30  # bytes covered by one sum: a difference is located to one region
_ZEROS = buffer(1 << 20)


class Hash(Protocol):
    """What hashlib and xxhash have in common."""

    def update(self, data: memoryview, /) -> None:
        """Adds the next bytes."""

    def hexdigest(self) -> str:
        """The digest so far."""


def new_hash(algorithm: Algorithm) -> Hash:
    """A new hash object; xxh3 stands for the variant of 128 bits."""
    if algorithm == "xxh3":
        return xxhash.xxh3_128()
    import hashlib  # it loads OpenSSL, which is slow

    return hashlib.new(algorithm)


def update_zeros(digest: Hash, length: int) -> None:
    """Adds `length` zeros to a digest."""
    for place in range(0, length, len(_ZEROS)):
        digest.update(_ZEROS[: min(len(_ZEROS), length - place)])


class Sums:
    """Digests of chunks, summed for each region: little memory, and threads need no order.

    A chunk's digest depends on its offset, so that exchanged chunks give another sum.
    """

    def __init__(self) -> None:
        self._sums: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, start: int, view: memoryview) -> None:
        """Adds a chunk's bytes."""
        digest = xxhash.xxh3_128_intdigest(view, start)
        region = start // REGION
        with self._lock:
            self._sums[region] = (self._sums.get(region, 0) + digest) % (1 << 128)

    def first_difference(self, other: "Sums") -> int | None:
        """The start (bytes) of the first region whose sums differ; None if all are equal."""
        regions = sorted({*self._sums, *other._sums})
        for region in regions:
            if self._sums.get(region) != other._sums.get(region):
                return region * REGION
        return None
