"""Which worker runs which tests, and in what order, when several run them."""

import re
from functools import cache
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[1]
# The longest modules, which start first: the run shall not end with one worker at such a one.
LONGEST = (
    "tests/e2e/test_convert_lvm.py",
    "tests/e2e/test_suites.py",
    "tests/e2e/test_trixie.py",
    "tests/e2e/test_bookworm.py",
)
# Elsewhere all modules share what takes long: the instances that they have made.
SINGLE = "tests/system/"


def unit_of(nodeid: str) -> str:
    """What one worker runs in a row: a module whose tests share what takes long to make.

    Where a module has no fixture that outlives a test, each of its tests is a unit.
    """
    path = nodeid.partition("::")[0]
    return path if _shares(path) else nodeid


@cache
def _shares(path: str) -> bool:
    if not path.startswith(SINGLE):
        return True
    return re.search(r'scope="(module|session)"|\bnew_node\b', (TOP / path).read_text()) is not None


def rank(unit: str) -> tuple[int, int]:
    """The smaller, the earlier: LONGEST, other end-to-end modules, those of system tests, tests."""
    if unit in LONGEST:
        return 0, LONGEST.index(unit)
    if not unit.startswith(SINGLE):
        return 1, 0
    return (3 if "::" in unit else 2), 0


def scheduler(config: Any, log: Any) -> Any:
    """Gives out units, the longest ones first, to whichever worker has come to its end."""
    from xdist.scheduler import LoadScopeScheduling

    class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
            super()._assign_work_unit(node)

    return LongestFirst(config, log)
