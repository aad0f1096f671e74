"""The options of `import plan`."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from importer.import_state import Volume
from importer.journal import begun, imports
from importer.plan.rules import GroupRules
from kit.import_ import plan
from node.devices.lvm import VolumeGroup
from node.errors import KitError
from tests.unit.importer.plan.planned import drafted


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    plan.arguments(parser)
    return parser.parse_args(words)


def test_rules_of_volume_groups_are_parsed() -> None:
    options = parsed("kvm1", "web", "--rule", "*=a=hdd", "--larger", "100G=hdd", "--larger", "1=x")
    assert options.by_name == [("*=a", "hdd")]
    assert options.larger == [(100 << 30, "hdd"), (1, "x")]


@pytest.mark.parametrize("words", [("--rule", "hdd"), ("--rule", "=hdd"), ("--larger", "big=hdd")])
def test_odd_rules_are_wrong_usage(words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        parsed("kvm1", "web", *words)


@pytest.mark.parametrize(
    ("domain", "node", "name"),
    [
        ("web", "node1.example.org", "web.example.org"),
        ("web.example.com", "node1.example.org", "web.example.com"),
        ("web", "node1", "web"),
        ("Web_1", "node1.example.org", "web_1.example.org"),
    ],
)
def test_the_instance_has_the_domain_of_the_node(domain: str, node: str, name: str) -> None:
    assert plan.instance_name(domain, node) == name


def test_all_groups_of_rules_must_exist() -> None:
    rules = GroupRules("a", (("*", "b"),), ((1, "c"),))
    groups = {"b": VolumeGroup("b", 1, 1)}
    with pytest.raises(KitError, match="volume group a, c: this node has none"):
        plan._require_groups(rules, groups)  # type: ignore[arg-type]


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
