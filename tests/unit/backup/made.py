"""Makes streams in memory, right ones and others."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import xxhash

from backup.streams.stream import Header, Trailer
from converter.buffers import buffer
from node import zstd
from node.zstd import Compressor

# As `zstd --content-size` makes one of an empty file.
EMPTY = b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9\xd8\x51"


def frame(content: bytes) -> bytes:
    if not content:
        return EMPTY
    view, out = buffer(len(content)), buffer(zstd.bound(len(content)))
    view[:] = content
    return bytes(out[: Compressor(1).compress(view, out)])


def trailer_of(header: Header, content: Sequence[bytes]) -> Trailer:
    digests = xxhash.xxh3_128()
    for each in content:
        digests.update(xxhash.xxh3_128_digest(each))
    compressed = sum(len(frame(each)) for each in content)
    return Trailer(len(content), header.disk_size, compressed, digests.hexdigest(), header.digest)


def made(
    content: Sequence[bytes],
    header: Header,
    change: Callable[[Trailer], Trailer] = lambda trailer: trailer,
) -> bytes:
    """A stream up to its last frame."""
    trailer = change(trailer_of(header, content))
    return header.encode() + b"".join(map(frame, content)) + trailer.encode()


@contextmanager
def opened(data: bytes) -> Iterator[int]:
    """A descriptor of a file with these bytes."""
    file = os.memfd_create("stream")
    try:
        os.write(file, data)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)
