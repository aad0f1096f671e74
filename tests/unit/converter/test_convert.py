"""The order of a run's steps, with a source and a target that are in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from converter import convert
from converter.extents import Extent, Kind
from tests.unit.converter.memory_source import MemorySource, MemoryTarget

SIZE = 4 << 20


class Few(MemorySource):
    """Lets in two readers at once; the first is the one that looks for swap and partitions."""

    readers = 2
    most = 0

    def reader(self) -> "MemorySource":
        reader = super().reader()
        self.most = max(self.most, self.open_readers)
        return reader


def test_a_comparison_has_no_more_readers_than_the_source_lets_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Few(bytes(range(256)) * (SIZE // 256), [Extent(0, SIZE, Kind.DATA, 0)])
    there = MemoryTarget(source.content)
    there.require_in_place = lambda: None  # type: ignore[attr-defined]

    @contextmanager
    def open_target_read_only(*_: object, **_more: object) -> Iterator[object]:
        yield there

    monkeypatch.setattr("converter.target.device.open_target_read_only", open_target_read_only)
    found = convert.compare(source, "memory")
    assert found.first_difference is None
    assert source.most == 1 + Few.readers
    assert source.open_readers == 0
