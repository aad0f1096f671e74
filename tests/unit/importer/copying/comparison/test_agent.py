"""The agent runs on old hosts, and computes what the node computes."""

import ast
import hashlib
import random
import sys
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest

from importer.copying.comparison import agent
from importer.copying.comparison.agent import ALGORITHMS, BLOCK, DIGEST, Hasher, speeds
from importer.copying.comparison.agent_disk import command

TEXT = Path(agent.__file__).read_text()


def test_its_syntax_is_that_of_the_oldest_python() -> None:
    tree = ast.parse(TEXT, feature_version=(3, 5))
    # The parser lets these pass, whatever version it is told.
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match)
    assert [node for node in ast.walk(tree) if isinstance(node, newer)] == []


def test_it_needs_only_the_standard_library() -> None:
    for node in ast.walk(ast.parse(TEXT)):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.module in sys.stdlib_module_names


def test_no_secret_and_no_program_text_is_in_the_command_line() -> None:
    assert command()[:3] == ["python3", "-IS", "-c"]
    assert len(" ".join(command())) < 200


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_digests_are_those_of_the_salted_blocks(algorithm: str) -> None:
    data = bytearray(random.Random(1).randbytes(BLOCK) + bytes(BLOCK) + b"end")
    salt = b"s" * 16
    wanted = [
        hashlib.new(algorithm, salt + data[place : place + BLOCK]).digest()[:DIGEST]
        for place in range(0, len(data), BLOCK)
    ]
    hasher = Hasher(algorithm, salt)
    assert hasher.digests(data, len(data)) == b"".join(wanted)
    assert hasher.zero == wanted[1]
    # What a buffer held before does not count.
    assert hasher.digests(data, BLOCK + 5)[DIGEST:] == hasher.of(bytes(5))
    assert Hasher(algorithm, b"t" * 16).zero != hasher.zero


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_short_blocks_of_zeros_have_their_own_digest(size: int) -> None:
    hasher = Hasher(ALGORITHMS[0], b"s")
    found = hasher.digests(bytearray(size), size)
    assert len(found) == -(-size // BLOCK) * DIGEST
    assert (found[:DIGEST] == hasher.zero) is (size >= BLOCK)


class Memory:
    """A disk in memory, in the place of an NBD connection."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, offset: int, view: memoryview) -> None:
        view[:] = self._content[offset : offset + len(view)]


def test_blocks_of_zeros_are_only_named() -> None:
    content = b"x" * BLOCK + bytes(2 * BLOCK) + bytes(BLOCK - 1) + b"y" + b"z" + bytes(99)
    reader = agent.Agent(BytesIO(), Hasher("sha256", b"s"), len(content))
    buffer = bytearray(b"?" * agent.MAX_DATA)  # what it held before does not count

    def read(offset: int, length: int) -> bytes:
        disk = cast(agent.Nbd, Memory(content))
        return b"".join(reader._answer(disk, buffer, agent.READ, offset, length))

    marks = b"\1\0\0\1\1"
    assert read(0, len(content)) == marks + content[:BLOCK] + content[3 * BLOCK :]
    assert read(BLOCK - 1, BLOCK + 1) == b"\1\0" + content[BLOCK - 1 :][:BLOCK]
    assert read(len(content) - 99, 99) == b"\0"
    assert read(BLOCK, 2 * BLOCK) == b"\0\0"


def test_what_each_algorithm_takes_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = speeds()
    assert sorted(found) == sorted(ALGORITHMS)
    assert all(0 < seconds < 1 for seconds in found.values())
    monkeypatch.setattr(hashlib, "algorithms_available", {"md5", "sha256"})  # of Python 3.5
    assert list(speeds()) == ["sha256"]
