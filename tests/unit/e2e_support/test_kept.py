from pathlib import Path

import pytest

from tests.e2e import kept


def test_consoles_of_an_earlier_failure_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "TOP", tmp_path)
    monkeypatch.setattr(kept.Console, "opened", [])
    old = kept.directory("tests/e2e/test_gpt.py::test_boots[a/b c]")
    assert old == tmp_path / "build/e2e/test_gpt.py-test_boots[a-b-c]"
    old.mkdir(parents=True)
    (old / "console-7.txt").touch()
    assert kept.keep("tests/e2e/test_gpt.py::test_boots[a/b c]", []) == old
    assert list(old.iterdir()) == []
