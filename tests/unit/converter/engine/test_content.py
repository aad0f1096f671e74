from converter.engine.content import TargetContent
from converter.extents import CHUNK, Extent, Kind
from tests.unit.converter.engine.sample_content import OLD, content
from tests.unit.converter.memory_source import MemorySource


def test_sizes_are_told_by_kind_and_by_place() -> None:
    what = content()
    assert sum(what.sizes.values()) == len(OLD)
    assert what.sizes[Kind.LITERAL] == 2012
    assert [what.data_before(end) for end in (0, 512, 2000, CHUNK, len(OLD))] == [
        0,
        512,
        1000,
        69_000,
        what.data(),
    ]


def test_sizes_are_counted_once_where_the_source_knows_them() -> None:
    source = MemorySource(b"", [Extent(0, 10, Kind.ZERO)])
    source.sizes = {Kind.DATA: 7, Kind.COMPRESSED: 2, Kind.ZERO: 1}
    content = TargetContent(source, (), 15)
    none = dict.fromkeys(Kind, 0)
    assert content.sizes == none | {Kind.DATA: 7, Kind.COMPRESSED: 2, Kind.ZERO: 6}
    over = TargetContent(source, (Extent(0, 4, Kind.LITERAL, literal=b"abcd"),), 15)
    assert over.sizes == none | {Kind.ZERO: 11, Kind.LITERAL: 4}
