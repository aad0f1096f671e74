"""The identity of a disk that another program serves, of which no file or device is known here."""

from collections.abc import Mapping

import xxhash

HEAD = 1 << 20  # bytes of the disk that are part of its identity

Origin = Mapping[str, str | int]


def head_digest(head: bytes | bytearray) -> str:
    """A digest of the disk's first HEAD bytes, or of all if it is smaller."""
    return xxhash.xxh3_128_hexdigest(head)


def identity(origin: Origin, size: int, head: str) -> Origin:
    """What the journal of a copy has of the disk; however the disk is read, it is the same.

    Args:
        origin: what the caller knows of it.
        size: of the disk, bytes.
        head: of `head_digest`.
    """
    return {**origin, "disk_size": size, "disk_head": head}
