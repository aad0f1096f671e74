"""How a plan's file is named in commands to paste."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from importer.plan.file import render
from importer.plan.rules import Draft
from importer.plan.word import noted_word, word
from tests.unit.importer.plan.planned import drafted

PLAN = drafted().plan


@pytest.mark.parametrize(
    "path", ["web.toml", "/root/my web.toml", "it's.toml", "$(reboot);`x`", "wéb.toml", "a\\nb"]
)
def test_the_shell_reads_the_path_again(path: str) -> None:
    assert shlex.split(word(path)) == [path]


def test_a_plain_path_stays_as_it_is() -> None:
    assert word("../plans/web1.example.org.toml") == "../plans/web1.example.org.toml"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert word("a\x1b[2J\nb\udcff") == r"'a\x1b[2J\nb\xff'"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "my web.toml"
    made.write_text(render(Draft(PLAN)))
    return made


def test_a_plan_that_is_still_there_is_named(file: Path) -> None:
    assert noted_word(str(file), PLAN.instance) == f"'{file}'"


def test_an_edited_plan_is_still_that_of_the_instance(file: Path) -> None:
    file.write_text(render(Draft(replace(PLAN, memory=4 << 30))))
    assert noted_word(str(file), PLAN.instance) == f"'{file}'"


def test_the_plan_of_another_machine_is_not_named(file: Path) -> None:
    """Who pastes the line would stop that machine."""
    file.write_text(render(Draft(replace(PLAN, instance="db.example.org"))))
    assert noted_word(str(file), PLAN.instance) == "PLAN"


@pytest.mark.parametrize("content", [b"", b"version = 2\n", b"\xff", b"\0"])
def test_what_is_no_plan_any_more_is_not_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert noted_word(str(file), PLAN.instance) == "PLAN"


def test_what_cannot_be_read_is_no_error(file: Path, tmp_path: Path) -> None:
    """A pipe is not waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in ("", tmp_path, file / "x", tmp_path / "gone", tmp_path / ("x" * 300), pipe):
        assert noted_word(str(path), PLAN.instance) == "PLAN"
