"""Assigns tests to parallel workers, the longest first."""

import re
from functools import cache
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[1]
# The longest modules start first. Otherwise a run could end with one worker busy with such a
# module and the others idle.
LONGEST = (
    "tests/e2e/importing",
    "tests/e2e/lvm",
    "tests/e2e/test_suites.py",
    "tests/e2e/test_trixie.py",
    "tests/e2e/test_cookbook.py",
    "tests/e2e/test_bookworm.py",
    "tests/system/package/test_package.py",
)
# In other folders, the tests of a module share its instances, which take long to make.
SINGLE = "tests/system/"
# The modules of these share guests.
TOGETHER = ("tests/e2e/importing", "tests/e2e/lvm")


def unit_of(nodeid: str) -> str:
    """The unit of work that a test belongs to: its module, if that has shared fixtures.

    Modules that share a guest are one unit. If a module of system tests has no fixture that
    outlives a test, each test is a unit.
    """
    path = nodeid.partition("::")[0]
    for folder in TOGETHER:
        if path.startswith(f"{folder}/"):
            return folder
    return path if _shares(path) else nodeid


@cache
def _shares(path: str) -> bool:
    if not path.startswith(SINGLE):
        return True
    return re.search(r'scope="(module|session)"|\bnew_node\b', (TOP / path).read_text()) is not None


def rank(unit: str) -> tuple[int, int]:
    """Sort key: LONGEST, other end-to-end modules, modules of system tests, single tests."""
    if unit in LONGEST:
        return 0, LONGEST.index(unit)
    if not unit.startswith(SINGLE):
        return 1, 0
    return (3 if "::" in unit else 2), 0


def scheduler(config: Any, log: Any) -> Any:
    """A scheduler for pytest-xdist: each free worker gets the first unit by `rank`."""
    from xdist.scheduler import LoadScopeScheduling

    class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
            super()._assign_work_unit(node)

    return LongestFirst(config, log)
