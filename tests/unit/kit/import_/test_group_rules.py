"""The options that choose volume groups, of `import plan` and `import inventory`."""

import argparse

import pytest

from importer.plan.rules import GroupRules
from kit.import_ import group_rules
from node.errors import KitError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    group_rules.arguments(parser)
    return parser.parse_args(words)


def test_rules_of_volume_groups_are_parsed() -> None:
    options = parsed("--rule", "*=a=hdd", "--larger", "100G=hdd", "--larger", "1=x")
    assert options.by_name == [("*=a", "hdd")]
    assert options.larger == [(100 << 30, "hdd"), (1, "x")]


@pytest.mark.parametrize("words", [("--rule", "hdd"), ("--rule", "=hdd"), ("--larger", "big=hdd")])
def test_odd_rules_are_wrong_usage(words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [((), False), (("--vg", "a"), True), (("--rule", "*=a"), True), (("--larger", "1=a"), True)],
)
def test_whether_there_are_rules(words: tuple[str, ...], expected: bool) -> None:
    assert group_rules.are_given(parsed(*words)) is expected


def test_all_groups_of_rules_must_exist() -> None:
    rules = GroupRules("a", (("*", "b"),), ((1, "c"),))
    with pytest.raises(KitError, match="volume group a, c: this node has none"):
        group_rules.require(rules, {"b"})
