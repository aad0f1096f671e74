"""Imports of the standard library and of Debian's packages, which import-linter does not see."""

import ast
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
LINTER = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]
# The only modules that use a library; programs are started by node.run alone.
USERS = {
    "guestfs": {"node.appliance"},
    "multiprocessing": set(),
    "nbd": {
        "converter.sources.nbd",
        "converter.sources.nbd_connect",
        "converter.sources.nbd_connection",
    },
    "pyudev": {"node.devices.udev"},
    "seccomp": {"node.isolation.confined", "node.isolation.nosync"},
    "sh": {"node.run"},
    "subprocess": set(),
}
ACTING = {"fcntl", "io", "os", "shutil", "signal", "socket", "tempfile", "threading", *USERS}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    name_of(path): path
    for package in LINTER["root_packages"]
    for path in sorted((TOP / package).rglob("*.py"))
}


def libraries(path: Path) -> set[str]:
    """The top names of all that a module imports, also within functions."""
    found = set()
    for each in ast.walk(ast.parse(path.read_text())):
        if isinstance(each, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in each.names}
        elif isinstance(each, ast.ImportFrom) and each.module and not each.level:
            found.add(each.module.partition(".")[0])
    return found


def pure() -> list[str]:
    """The modules of the contract for what only plans or renders, which names packages, too."""
    (listed,) = [
        contract["source_modules"]
        for contract in LINTER["contracts"]
        if contract["name"].startswith("Modules that only plan or render")
    ]
    assert set(listed) <= set(MODULES)
    return [
        name for name in MODULES if any(f"{name}.".startswith(f"{source}.") for source in listed)
    ]


@pytest.mark.parametrize("library", USERS)
def test_only_one_place_uses_a_library(library: str) -> None:
    users = {name for name, path in MODULES.items() if library in libraries(path)}
    assert users == USERS[library]


@pytest.mark.parametrize("name", pure())
def test_what_only_plans_or_renders_imports_nothing_that_acts(name: str) -> None:
    assert not libraries(MODULES[name]) & ACTING
