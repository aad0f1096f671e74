"""The library does not speak of the command line of qcow2raw: other callers have other options."""

import re
from pathlib import Path

import pytest

from converter.cli.options import parser

TOP = Path(__file__).parents[2]
OPTIONS = set(parser()._option_string_actions)
# Options of other programs that have the same name, each behind what they stand for there.
OTHERS = re.compile(r'lvextend --size|qemu-nbd --format|sysctl -q|\["--size", ')


def library() -> list[Path]:
    """All modules of the converter but those of the command line, and what it is built on."""
    found = [path for top in ("converter", "guest", "node") for path in (TOP / top).rglob("*.py")]
    return [path for path in found if path.parent.name != "cli" and path.name != "qcow2raw.py"]


@pytest.mark.parametrize("path", library(), ids=lambda path: str(path.relative_to(TOP)))
def test_no_option_of_the_command_line_is_named(path: Path) -> None:
    text = OTHERS.sub("", path.read_text())
    assert not OPTIONS & set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
