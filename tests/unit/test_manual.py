"""The manual names only what exists."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from converter.cli import options as qcow2raw
from kit import cli as instance_kit
from tests.e2e import scrape
from tools import record

TOP = Path(__file__).parents[2]
PACKAGES = ("node", "guest", "installer", "converter", "backup", "importer", "kit")
PAGES = sorted([TOP / "README.md", TOP / "CONTRIBUTING.md", *(TOP / "docs").glob("*.md")])


def titles(page: Path) -> set[str]:
    """The titles of a page, as links name them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in found}


def test_the_readme_is_short() -> None:
    assert len((TOP / "README.md").read_text().splitlines()) <= 150


def test_the_readme_has_the_command_that_the_tests_run() -> None:
    assert scrape.COMMAND in (TOP / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_it_names_files_that_exist(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`((?:docs|tests|tools|demo|bench|debian)/[\w./-]+|[A-Z]+\.md)`", text)
    assert [path for path in named if not (TOP / path).exists()] == []
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, title = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists() and (not title or title in titles(target)), link


def shown(node: ast.AST) -> str:
    """A text of the code, with an ellipsis for what is filled in; "" for other code."""
    if isinstance(node, ast.JoinedStr):
        parts = (str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values)
        return re.sub("…[ …]*…", "…", "".join(parts))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def texts_of_the_code() -> Iterator[str]:
    for package in PACKAGES:
        for path in (TOP / package).rglob("*.py"):
            yield from map(shown, ast.walk(ast.parse(path.read_text())))


def is_quoted(message: str, text: str) -> bool:
    """Whether a message is this text of the code, with some or all of it filled in."""
    if len(text.replace("…", "")) * 2 < len(message.replace("…", "")):
        return False
    parts = map(re.escape, text.split("…"))
    return re.fullmatch(".+".join(parts), message, re.DOTALL) is not None


def test_the_cookbook_quotes_errors_as_the_code_has_them() -> None:
    page = (TOP / "docs/cookbook.md").read_text()
    errors = page.partition("## At night, a create has failed")[2]
    quoted = re.findall(r"^- `(.+?)`|^- `.+?` and `(.+?)`", errors, re.MULTILINE)
    messages = {one for pair in quoted for one in pair if one}
    assert len(messages) > 30
    code = {text for text in texts_of_the_code() if 3 <= len(text) <= 300}
    assert [message for message in messages if not any(is_quoted(message, x) for x in code)] == []


def test_a_picture_shows_lines_as_a_terminal_does() -> None:
    assert record.screen("ls \\\n  -l", "50%\r100%\r\n\x1b[1mdone\x1b[0m\r\n" + "x" * 97) == [
        (f"{record.PROMPT}ls \\", "typed"),
        ("  -l", "typed"),
        ("100%", "printed"),
        ("done", "printed"),
        ("x" * 96, "printed"),
        ("x", "printed"),
    ]
    drawn = ElementTree.fromstring(record.svg([("a <b> & 'c'", "typed")]))
    assert [text.text for text in drawn.findall(".//{*}text")] == ["a <b> & 'c'"]


def test_the_picture_of_the_readme_is_a_record_of_its_commands() -> None:
    drawn = ElementTree.parse(record.PICTURE)
    lines = [(text.text or "", text.get("class")) for text in drawn.findall(".//{*}text")]
    typed = "\n".join(line for line, kind in lines if kind == "typed")
    assert typed == "\n".join(f"{record.PROMPT}{command}" for command in record.COMMANDS)
    assert any(line.startswith("root password: ") for line, kind in lines if kind == "printed")
    paths = re.findall(r"(?<![\w/+])/(\w+)/", "\n".join(line for line, _ in lines))
    assert set(paths) <= {"var", "dev"}  # none of the machine that recorded it


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def option_sets() -> dict[str, set[str]]:
    verbs = instance_kit.leaves(instance_kit.parser())
    return {
        "qcow2raw": options_of(qcow2raw.parser()),
        "instance-kit": set().union(*map(options_of, verbs)),
    }


@pytest.mark.parametrize("program", ["qcow2raw", "instance-kit"])
def test_the_man_page_has_the_program_s_options(program: str) -> None:
    page = (TOP / f"man/{program}.8").read_text().replace("\\-", "-")
    page = re.sub(r"\\f.|^systemctl .*", "", page.partition(".SH EXAMPLES")[0], flags=re.M)
    has = option_sets()[program]
    assert {option for option in has if not re.search(rf"{option}\b", page)} == set()
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page)) - has == set()


@pytest.mark.parametrize("page", sorted((TOP / "man").glob("*.[78]")), ids=lambda page: page.name)
def test_man_pages_have_the_usual_sections(page: Path) -> None:
    sections = re.findall(r"^\.SH (.+)$", page.read_text(), re.MULTILINE)
    assert sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert {"FILES", "EXIT STATUS", "EXAMPLES"} <= set(sections)
    assert sections[-1] == "SEE ALSO"
