"""The options of `import plan`."""

from dataclasses import replace
from pathlib import Path

import pytest

from importer.import_state import Volume
from importer.journal import begun, imports
from kit.import_ import plan
from node.errors import KitError
from tests.unit.importer.plan.planned import drafted


def test_what_an_earlier_run_has_made_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = drafted().plan
    read = plan.journal.read
    monkeypatch.setattr(plan.journal, "imports", lambda: imports(tmp_path))
    monkeypatch.setattr(plan.journal, "read", lambda name: read(name, tmp_path))
    monkeypatch.setattr(plan.adopted, "refreshed", lambda state: state)
    assert plan.ours(made) == set()
    volumes = (Volume("vda", "vg_ganeti", "uuid.disk0", "u0", adopted=True),)
    with begun(made, "text", tmp_path) as record:
        record.update(lambda state: replace(state, volumes=volumes))
        assert plan.ours(made) == {"vg_ganeti/web.example.org-root"}
        record.completed("add")
    assert plan.ours(made) == {"vg_ganeti/web.example.org-root", "web.example.org"}


def test_a_plan_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "web.toml"
    plan._write(path, "new", force=False)
    with pytest.raises(KitError, match="may have been edited"):
        plan._write(path, "newer", force=False)
    plan._write(path, "newer", force=True)
    assert path.read_text() == "newer"
    with pytest.raises(KitError, match="No such file"):
        plan._write(tmp_path / "none/web.toml", "x", force=False)
