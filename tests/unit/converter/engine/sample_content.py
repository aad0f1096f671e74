"""A target's content of all kinds of extents, and the bytes that it stands for."""

import random
from collections.abc import Sequence

from converter.engine.content import TargetContent
from converter.extents import CHUNK, Extent, Kind
from tests.unit.converter.memory_source import MemorySource

CONTENT = random.Random(3).randbytes(CHUNK)
OLD = b"\xee" * (3 * CHUNK + 512)
SIZE = 2 * CHUNK + 1234
EXTENTS = (
    Extent(0, 70_000, Kind.DATA, 5),
    Extent(70_000, CHUNK, Kind.ZERO),
    Extent(70_000 + CHUNK, 500_000, Kind.DATA, 1000),
    Extent(570_000 + CHUNK, SIZE - CHUNK - 570_000, Kind.ZERO),
)
REPLACEMENTS = (
    Extent(512, 1000, Kind.LITERAL, literal=CONTENT[:1000]),
    Extent(90_000, 500, Kind.LITERAL, literal=CONTENT[500:1000]),
    Extent(len(OLD) - 512, 512, Kind.LITERAL, literal=CONTENT[:512]),
)


def bytes_of(extents: Sequence[Extent], size: int) -> bytearray:
    whole = bytearray(size)
    for extent in extents:
        given = CONTENT[extent.host_offset :] if extent.kind is Kind.DATA else extent.literal
        whole[extent.guest_offset : extent.end] = (given or bytes(extent.length))[: extent.length]
    return whole


WANTED = bytes_of((*EXTENTS, *REPLACEMENTS), len(OLD))


def content(bad: Sequence[int] = ()) -> TargetContent:
    return TargetContent(MemorySource(CONTENT, EXTENTS, bad), REPLACEMENTS, len(OLD))
