"""What `converter` names is there, and loads no more than it needs."""

import ast
import sys
from pathlib import Path

import pytest

import converter
from converter import errors
from node.errors import KitError

SOURCE = Path(converter.__file__)
CALLER = SOURCE.parents[1] / "tests/system/converter/test_api.py"
OURS = ("converter", "guest", "installer", "node")


def imported(source: Path = SOURCE) -> dict[str, str]:
    """What type checkers see: each name, and the module of the kit that it is imported from."""
    return {
        alias.name: str(each.module)
        for each in ast.walk(ast.parse(source.read_text()))
        if isinstance(each, ast.ImportFrom) and str(each.module).partition(".")[0] in OURS
        for alias in each.names
    }


def test_a_caller_needs_nothing_else() -> None:
    assert set(imported(CALLER).values()) == {"converter"}


def test_all_names_are_those_that_type_checkers_see() -> None:
    assert sorted(imported()) == sorted(converter.__all__)


@pytest.mark.parametrize("name", converter.__all__)
def test_a_name_is_what_its_module_defines(name: str) -> None:
    home = imported()[name]
    assert getattr(converter, name) is getattr(sys.modules[home], name)


def test_all_kinds_of_errors_are_named() -> None:
    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, KitError) and kind is not KitError
    }
    assert kinds <= set(converter.__all__)


def test_other_names_are_none_of_ours() -> None:
    with pytest.raises(AttributeError, match="no attribute fetch"):
        _ = converter.fetch  # type: ignore[attr-defined]
