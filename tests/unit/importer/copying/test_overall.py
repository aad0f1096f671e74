"""Progress of several copies: reports on each, and on all together."""

import io
import json

from converter import Progress
from converter.progress import Json, Lines
from importer.copying.overall import Board, Part


class Told:
    """Keeps what it is told, with the name of the part; "" for all together."""

    def __init__(self, kept: list[tuple[object, ...]] | None = None, name: str = "") -> None:
        self.kept = [] if kept is None else kept
        self._name = name

    def part(self, name: str) -> Progress:
        return Told(self.kept, name)

    def begin(self, phase: str, total: int, done: int = 0) -> None:
        self.kept.append((self._name, phase, total, done))

    def update(self, done: int) -> None:
        self.kept.append((self._name, done))

    def end(self) -> None:
        self.kept.append((self._name, "end"))

    def new(self, name: str = "") -> list[tuple[object, ...]]:
        found = [rest for of, *rest in self.kept if of == name]
        self.kept[:] = [each for each in self.kept if each[0] != name]
        return [tuple(each) for each in found]


def test_all_together_begin_when_the_last_one_has_and_end_with_the_last_one() -> None:
    parts, told = {name: Part(lambda: None) for name in ("vda", "vdb")}, Told()
    one, other = parts.values()
    board = Board(parts, told)
    board.show()
    one.begin("copy", 100, 10)
    board.show()
    assert told.new() == []
    assert told.new("vda") == [("copy", 100, 10), (10,)]
    one.update(20)
    other.begin("copy", 50)
    board.show()
    assert told.new() == [("copy", 150, 10), (20,)]
    one.update(100)
    one.end()
    one.begin("verify", 7)
    other.update(30)
    board.show()
    assert told.new() == [(130,)]
    assert told.new("vda") == [(20,), (100,), ("end",), ("verify", 7, 0), (0,)]
    other.update(50)
    other.end()
    other.begin("verify", 3)
    other.update(3)
    one.update(7)
    one.ended = other.ended = True
    board.show()
    assert told.new() == [(150,), ("end",), ("verify", 10, 0), (10,), ("end",)]
    board.end()
    assert told.new() == []


def test_one_disk_alone_is_reported_once() -> None:
    told = Told()
    part = Part(lambda: None)
    board = Board({"vda": part}, told)
    part.begin("copy", 5)
    board.show()
    board.end()
    assert told.kept == [("", "copy", 5, 0), ("", 0), ("", "end")]


def test_a_copy_that_fails_early_does_not_hold_up_the_report() -> None:
    parts, told = {name: Part(lambda: None) for name in ("vda", "vdb")}, Told()
    parts["vda"].ended = True
    parts["vdb"].begin("copy", 5)
    Board(parts, told).show()
    assert told.new() == [("copy", 5, 0), (0,)]


def test_parts_are_named_in_lines_and_in_objects() -> None:
    stream = io.StringIO()
    lines = Lines(stream).part("vda")
    lines.begin("copy", 2 << 20)
    lines._next = 0.0  # type: ignore[attr-defined]
    lines.update(1 << 20)
    assert stream.getvalue().startswith("vda: copy: 1 MiB of 2 MiB (50 %), ")
    stream = io.StringIO()
    whole = Json(stream, "progress")
    whole.part("vda").begin("copy", 5)
    whole.begin("copy", 9)
    one, other = map(json.loads, stream.getvalue().splitlines())
    assert (one["disk"], one["bytes_total"]) == ("vda", 5)
    assert "disk" not in other and other["bytes_total"] == 9
