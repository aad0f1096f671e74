"""A comparison with an agent that lies."""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from converter.errors import CopyFailed, SourceLost, TargetTooSmall
from converter.options import CopyOptions
from importer.copying.comparison import agent
from importer.copying.comparison.agent import BLOCK, EXTENT, MAP, READ
from importer.copying.comparison.compare import compare
from importer.copying.comparison.update import update
from tests.unit.importer.copying.peer import Peer, disk_of, message, read, replied

SIZE = 8 * BLOCK
HELLO = message(size=SIZE)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.write_bytes(b"x" * SIZE)
    return path


def test_a_size_that_no_volume_has_takes_no_memory(target: Path) -> None:
    hello = message(size=1 << 62)
    with disk_of(Peer(hello)) as disk, pytest.raises(TargetTooSmall):
        compare(disk, target, CopyOptions())


@pytest.mark.parametrize("missing", [1, agent.DIGEST, -1])
def test_digests_of_other_blocks_than_asked_for_are_refused(target: Path, missing: int) -> None:
    def answer(kind: int, number: int, _offset: int, length: int) -> bytes:
        if kind == READ:
            return read(number, bytes(length))
        if kind == MAP:
            return replied(number, EXTENT.pack(length, 0))
        return replied(number, bytes(length // BLOCK * agent.DIGEST - missing))

    with disk_of(Peer(HELLO, answer)) as disk, pytest.raises(SourceLost, match="not an answer"):
        compare(disk, target, CopyOptions())
    assert target.read_bytes() == b"x" * SIZE


def test_holes_are_never_asked_for(target: Path) -> None:
    asked: list[tuple[int, int, int]] = []

    def answer(kind: int, number: int, offset: int, length: int) -> bytes:
        if kind == READ:
            return read(number, bytes(length))
        if kind == MAP:
            hole = 3 * BLOCK + 1
            return replied(number, EXTENT.pack(hole, 3) + EXTENT.pack(length - hole, 0))
        asked.append((offset, length, number))
        return replied(number, bytes(length // BLOCK * agent.DIGEST))

    with disk_of(Peer(HELLO, answer)) as disk:
        found = compare(disk, target, CopyOptions())
    assert [(offset, length) for offset, length, _ in asked] == [(3 * BLOCK, 5 * BLOCK)]
    assert (found.compared, found.different) == (SIZE, SIZE)
    kinds = [(each.length, each.kind.name) for each in found.blocks.extents()]
    assert kinds == [(3 * BLOCK, "ZERO"), (5 * BLOCK, "DATA")]


@pytest.mark.parametrize("moves", [False, True])
def test_a_running_guest_may_change_the_disk_meanwhile(target: Path, moves: bool) -> None:
    """As long as another pass follows, when it is off."""

    def answer(kind: int, number: int, _offset: int, length: int) -> bytes:
        if kind == MAP:
            return replied(number, EXTENT.pack(length, 0))
        if kind == READ:
            return read(number, bytes([number % 256]) * length)
        return replied(number, os.urandom(length // BLOCK * agent.DIGEST))

    expected = nullcontext() if moves else pytest.raises(CopyFailed, match="it changed while")
    with disk_of(Peer(HELLO, answer)) as disk, expected:
        update(disk, target, CopyOptions(allow_file=True), moves=moves)
