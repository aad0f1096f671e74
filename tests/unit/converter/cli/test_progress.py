"""The progress that --progress names."""

import io
import os

import pytest

from converter.cli import progress
from converter.cli.progress import chosen
from converter.progress import Bar, Lines, Silent
from node.errors import KitError


def test_json_goes_to_the_descriptor_that_is_named() -> None:
    reader, writer = os.pipe()
    try:
        told = chosen(f"json:{writer}", quiet=True)
        told.write({"type": "result"})
        assert os.read(reader, 100) == b'{"type": "result"}\n'
    finally:
        os.close(reader)
        os.close(writer)


def test_without_a_terminal_it_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    assert isinstance(chosen("auto", quiet=False), Lines)
    assert type(chosen("auto", quiet=True)) is Silent
    assert isinstance(chosen("bar", quiet=True), Bar)


def test_a_descriptor_that_cannot_be_written_is_refused() -> None:
    reading, writing = os.pipe()
    try:
        for number in (reading, 99):
            with pytest.raises(KitError, match=f"--progress json:{number}"):
                chosen(f"json:{number}", quiet=False)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_reader_that_has_ended_ends_the_copy_but_hides_no_other_error() -> None:
    reading, writing = os.pipe()
    json_lines = chosen(f"json:{writing}", quiet=False)
    json_lines.begin("copy", 10)
    os.close(reading)
    os.close(writing)
    with pytest.raises(KitError, match="--progress json: Broken pipe"):
        json_lines.write({"type": "result"})
    json_lines.end()
