"""What `import adopt` does with the path of its plan."""

from pathlib import Path

import pytest

from importer import journal
from importer.adoption.adopt import Wanted
from importer.plan.file import render
from kit.cli import parser
from kit.import_ import adopt
from tests.unit.importer.plan.planned import drafted


def test_the_path_is_for_hints_of_this_verb_and_of_later_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan, text = drafted().plan, render(drafted())
    imports, given = tmp_path / "imports", "my web.toml"
    resumed, told = journal.resumed, list[str]()

    def adopted(
        _plan: object, _record: object, _cluster: object, wanted: Wanted, _: object
    ) -> None:
        told.append(wanted.plan)

    monkeypatch.chdir(tmp_path)
    Path(given).write_text(text)
    with journal.begun(plan, text, imports):
        pass
    monkeypatch.setattr(adopt.ganeti, "of_this_node", lambda: None)
    monkeypatch.setattr(adopt.journal, "resumed", lambda *each: resumed(*each, imports))
    monkeypatch.setattr(adopt.adopt, "asks_source", lambda *_: False)
    monkeypatch.setattr(adopt.adopt, "adopt", adopted)
    assert adopt.run(parser().parse_args(["import", "adopt", given])) == 0
    assert told == ["'my web.toml'"]
    assert journal.read(plan.instance, imports).plan_file == f"{tmp_path}/my web.toml"
