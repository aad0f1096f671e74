"""The options of `import copy` for the last pass."""

import argparse

import pytest

from importer.import_state import ImportState, Pass
from kit.cli import parser
from kit.import_ import copy
from node.errors import KitError
from tests.unit.importer.copying.source import PLAN, POINT, seen, sizes
from tests.unit.importer.fake_host import FakeHost, said

MIB = 1 << 20
FIRST = Pass(1, False, POINT, 1.0, complete=True, copy_rate=50.0 * MIB, compare_rate=1024.0 * MIB)
STATE = ImportState(PLAN.instance, PLAN.host, PLAN.domain, PLAN.uuid, "", 1.0, passes=(FIRST,))


def options(*words: str) -> argparse.Namespace:
    return parser().parse_args(["import", "copy", "web.toml", *words])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """The domain of the journal runs; its last pass would take 23 s."""
    told = {"checkpoints": POINT, "sizes": sizes(POINT, f"size='{100 * MIB}'")}
    monkeypatch.setattr(copy, "look", lambda *_: seen(POINT, **told))
    monkeypatch.setattr(copy.journal, "imports", lambda: [PLAN.instance])
    monkeypatch.setattr(copy.journal, "read", lambda _: STATE)
    return FakeHost(said())


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "1m", "", "²"])
def test_a_limit_is_a_whole_number_of_seconds(given: str) -> None:
    assert options("--final", "--max-downtime", "90").max_downtime == 90
    with pytest.raises(SystemExit):
        options("--final", f"--max-downtime={given}")


@pytest.mark.parametrize("given", ["0", "-1", "1.5", ""])
def test_the_time_of_a_shutdown_is_a_whole_number_of_seconds(given: str) -> None:
    assert options("--final", "--shutdown-seconds", "90").shutdown_seconds == 90
    with pytest.raises(SystemExit):
        options("--final", f"--shutdown-seconds={given}")


def test_only_a_last_pass_has_a_limit() -> None:
    copy._check(options("--final", "--max-downtime", "90"))
    with pytest.raises(KitError, match="--max-downtime: only with --final"):
        copy._check(options("--again", "--max-downtime", "90"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--again",), ["about 23 s"]),
        (("--final", "--suspend"), ["about 23 s, at most 300 s"]),
        (("--final", "--suspend", "--max-downtime", "60"), ["about 23 s, at most 60 s"]),
        (
            ("--final", "--suspend", "--max-downtime", "20"),
            [
                "about 23 s, at most 20 s",
                "web would not be stopped: its last pass takes about 23 s, but may take 20 s",
            ],
        ),
    ],
)
def test_the_limit_is_told_beforehand(
    host: FakeHost, words: tuple[str, ...], expected: list[str]
) -> None:
    lines = copy._foreseen(options(*words), PLAN, host)
    assert lines[-len(expected)].endswith(f" to compare, {expected[0]}")
    assert lines[len(lines) - len(expected) + 1 :] == expected[1:]
