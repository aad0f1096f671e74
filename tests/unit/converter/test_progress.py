import io
import json

import pytest

from converter import progress
from converter.progress import Bar, Json, Lines, duration, line


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0:00"), (123, "2:03"), (3723, "1:02:03")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_tells_the_rate_of_this_run_and_what_is_left() -> None:
    told = line("copy", done=6 << 30, total=8 << 30, moved=2 << 30, seconds=2.0)
    assert told == "copy: 6 GiB of 8 GiB (75 %), 1 GiB/s, 0:02 to go"


def test_a_line_of_nothing_to_do() -> None:
    assert line("copy", 0, 0, 0, 0.0) == "copy: 0 B of 0 B (100 %), 0 B/s"


def test_lines_come_every_ten_seconds(clock: Clock) -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.begin("copy", 1000)
    for second in range(25):
        clock.now = 100.0 + second
        lines.update(second * 10)
    lines.end()
    assert [text.split(",")[0] for text in stream.getvalue().splitlines()] == [
        "copy: 100 B of 1000 B (10 %)",
        "copy: 200 B of 1000 B (20 %)",
    ]


def test_json_has_first_and_last(clock: Clock) -> None:
    stream = io.StringIO()
    told = Json(stream, "progress")
    told.begin("copy", 100, done=20)
    clock.now += 2
    told.update(60)
    told.update(70)
    clock.now += 2
    told.end()
    told.write({"type": "result", "target": "/dev/x"})
    first, middle, last, result = [json.loads(text) for text in stream.getvalue().splitlines()]
    fields = {"type": "progress", "phase": "copy", "bytes_total": 100}
    assert first == {**fields, "bytes_done": 20, "rate": 0}
    assert middle == {**fields, "bytes_done": 60, "rate": 20}
    assert last == {**fields, "bytes_done": 70, "rate": 12}
    assert result == {"type": "result", "target": "/dev/x"}


def test_a_bar_draws_bytes_and_ends() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.update(5)
    bar.begin("copy", 1 << 20)
    bar.update(1 << 20)
    bar.end()
    bar.end()
    assert "copy: 100%" in stream.getvalue() and "1.00M/1.00M" in stream.getvalue()


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError("full")


@pytest.mark.parametrize("kind", [Lines, Bar])
def test_a_log_or_terminal_that_fails_ends_no_copy(kind: type[Bar | Lines], clock: Clock) -> None:
    told = kind(Full())
    told.begin("copy", 1000)
    clock.now += 60
    told.update(500)
    told.end()
