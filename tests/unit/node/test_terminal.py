"""Which program runs on the terminal."""

from pathlib import Path

import pytest

from node import terminal


def test_a_relative_path_is_one_of_our_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the directory that it starts in, a guest may have a program of that name."""
    program = tmp_path / "repair"
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    assert terminal._found("./repair") == str(program)
    monkeypatch.setenv("PATH", "/nonexistent:.")
    assert terminal._found("repair") == str(program)
