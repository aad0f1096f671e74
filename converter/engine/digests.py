"""Digests of a disk's content: one over all of it in order, and sums that need no order."""

import threading
from typing import Protocol

import xxhash

from converter.buffers import buffer
from converter.options import Algorithm

REGION = 1 << 30  # bytes that one sum is for: how closely a difference is placed
_ZEROS = buffer(1 << 20)


class Hash(Protocol):
    """What hashlib and xxhash have in common."""

    def update(self, data: memoryview, /) -> None:
        """Takes the next bytes."""

    def hexdigest(self) -> str:
        """The digest so far."""


def new_hash(algorithm: Algorithm) -> Hash:
    """The digest of that name; xxh3 is its variant of 128 bits."""
    if algorithm == "xxh3":
        return xxhash.xxh3_128()
    import hashlib  # with OpenSSL behind it, which takes its time to load

    return hashlib.new(algorithm)


def update_zeros(digest: Hash, length: int) -> None:
    """Takes so many zeros."""
    for place in range(0, length, len(_ZEROS)):
        digest.update(_ZEROS[: min(len(_ZEROS), length - place)])


class Sums:
    """Digests of chunks, added up for each region: memory stays small, threads need not wait.

    A chunk's digest depends on its place, so that swapped chunks are told apart, too.
    """

    def __init__(self) -> None:
        self._sums: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, start: int, view: memoryview) -> None:
        """Takes a chunk's bytes."""
        digest = xxhash.xxh3_128_intdigest(view, start)
        region = start // REGION
        with self._lock:
            self._sums[region] = (self._sums.get(region, 0) + digest) % (1 << 128)

    def first_difference(self, other: "Sums") -> int | None:
        """Where the first region begins whose sums differ; bytes."""
        regions = sorted({*self._sums, *other._sums})
        for region in regions:
            if self._sums.get(region) != other._sums.get(region):
                return region * REGION
        return None
