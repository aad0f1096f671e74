"""A source and a target that are in memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from converter.extents import Extent, Kind
from converter.target.device import Target
from converter.target.zeroing import Zeroer
from node.errors import KitError


class MemorySource:
    """A disk of given extents, whose data stand in `content` at their offsets.

    A read that touches a place in `bad` fails.
    """

    format = "raw"
    features: Mapping[str, str] = {}
    identity: Mapping[str, str | int] = {}
    status = None
    readers = 2
    sizes: Mapping[Kind, int] | None = None

    def __init__(self, content: bytes, extents: Sequence[Extent], bad: Sequence[int] = ()) -> None:
        self.name = "memory"
        self.content = content
        self.bad = bad
        self.size = extents[-1].end if extents else 0
        self.open_readers = 0
        self._extents = extents

    def extents(self, start: int = 0) -> Iterator[Extent]:
        for extent in self._extents:
            if extent.end > start:
                yield extent.cut(max(start, extent.guest_offset), extent.end)

    def reader(self) -> "MemorySource":
        self.open_readers += 1
        return self

    def close(self) -> None:
        self.open_readers -= 1

    def read(self, extents: Sequence[Extent], view: memoryview, start: int) -> None:
        for extent in extents:
            assert extent.kind in (Kind.DATA, Kind.SAME)
            if any(
                extent.host_offset <= place < extent.host_offset + extent.length
                for place in self.bad
            ):
                raise KitError(f"read of memory at byte {extent.host_offset}", "what to do")
            found = self.content[extent.host_offset : extent.host_offset + extent.length]
            view[extent.guest_offset - start : extent.end - start] = found

    def check_unchanged(self) -> None:
        pass


class MemoryTarget:
    """Keeps what is written, and where."""

    path = Path("/dev/memory")

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.size = len(content)
        self.writes: list[tuple[int, int]] = []
        self.zeroed: list[tuple[int, int]] = []

    def read_into(self, view: memoryview, offset: int) -> None:
        view[:] = self.content[offset : offset + len(view)]

    def write(self, view: memoryview, offset: int) -> None:
        assert offset + len(view) <= self.size
        self.writes.append((offset, len(view)))
        self.content[offset : offset + len(view)] = view

    def zero(self, start: int, length: int) -> None:
        """The zeroer's part."""
        self.zeroed.append((start, length))
        self.content[start : start + length] = bytes(length)

    @property
    def as_target(self) -> Target:
        return cast(Target, self)

    @property
    def as_zeroer(self) -> Zeroer:
        return cast(Zeroer, self)
