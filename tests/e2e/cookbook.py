"""Reads the commands of docs/cookbook.md, and what they should print. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/cookbook.md"
# Comments before a block, which readers of the page do not see.
NOT_RUN = "not run: "
ON_A_TERMINAL = "on a terminal"
IN_A_GUEST = "in a guest with systemd and LVM"
BESIDE_A_KVM_HOST = "on a node with LVM, beside a KVM host"
MARK = "----- end of block"

_TITLE = re.compile(r"## (.+)")
_COMMENT = re.compile(r"<!-- (.+) -->")
_FENCE = re.compile(r"```(\w*)")


@dataclass(frozen=True)
class Block:
    """Commands of a recipe.

    Attributes:
        recipe: the title of the recipe.
        commands: for bash.
        mark: the comment before the block; "" for a block that runs on the master node.
        expected: the lines of the `text` block below it; "..." stands for anything.
    """

    recipe: str
    commands: str
    mark: str
    expected: tuple[str, ...] = ()


def blocks(text: str) -> list[Block]:
    """All blocks with commands, in order.

    Raises:
        ValueError: the page has a block of another kind, or output that belongs to no commands.
    """
    found: list[Block] = []
    recipe = mark = ""
    follows = False  # whether only blank lines came since the last block
    lines = iter(text.splitlines())
    for line in lines:
        if title := _TITLE.fullmatch(line):
            recipe = title[1]
        if fence := _FENCE.fullmatch(line):
            content = list(_until_fence(lines))
            if fence[1] == "sh":
                found.append(Block(recipe, "\n".join(content), mark))
            elif fence[1] == "text" and follows:
                last = found.pop()
                found.append(Block(last.recipe, last.commands, last.mark, tuple(content)))
            else:
                raise ValueError(f"{recipe}: {line}: not commands, nor the output of some")
            mark, follows = "", fence[1] == "sh"
        elif comment := _COMMENT.fullmatch(line):
            mark = comment[1]
        elif line:
            mark, follows = "", False
    return found


def _until_fence(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line == "```":
            return
        yield line
    raise ValueError("a block has no end")


def missing(expected: Iterable[str], printed: str) -> str | None:
    """The first expected line that was not printed after the ones before it; None: all were."""
    rest = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in expected:
        parts = " ".join(line.split()).split("...")
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in parts))
        if not any(pattern.fullmatch(each) for each in rest):
            return line
    return None


def replaced(commands: str, replacements: Mapping[str, str]) -> str:
    """Commands of the page for a node that lacks something."""
    for old, new in replacements.items():
        commands = commands.replace(old, new)
    return commands


def script(commands: Iterable[str]) -> str:
    """A script for bash: one shell for the commands of several blocks, as an administrator has.

    The output of each is followed by a line with `MARK`.
    """
    # KVM may be there, and not work: libguestfs would try it.
    emulated = "export LIBGUESTFS_BACKEND_SETTINGS=force_tcg"
    lines = ["set -euo pipefail", "exec 2>&1", "cd", emulated]
    for block in commands:
        lines += [block, f"echo; echo {MARK}"]
    return "\n".join(lines)
