"""What `import finish` says of steps that are left."""

from pathlib import Path

import pytest

from importer.import_state import ImportState
from importer.plan.file import render
from kit.cli import parser
from kit.import_ import finish
from tests.unit.importer.plan.planned import drafted


def test_steps_that_are_left_are_commands_to_paste(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = drafted().plan
    state = ImportState(plan.instance, plan.host, plan.domain, plan.uuid, "", 0.0)
    monkeypatch.chdir(tmp_path)
    Path("my web.toml").write_text(render(drafted()))
    monkeypatch.setattr(finish.journal, "read", lambda _: state)
    assert finish.run(parser().parse_args(["import", "finish", "my web.toml"])) == 0
    said = capsys.readouterr().out
    assert "- final copy: `instance-kit import copy 'my web.toml' --final`" in said
    assert "- start: `instance-kit import adopt 'my web.toml' --start`" in said
