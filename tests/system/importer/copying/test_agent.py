"""The agent as a program: what it says when something is missing, and that it ends."""

import time
from pathlib import Path

import pytest

from converter.errors import SourceLost
from importer.copying.comparison.agent_disk import agent_disk
from node.errors import KitError
from node.service import serving_binary
from tests.system.importer.copying.agents import MIB, agent_on, exported, make_disk


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    make_disk(tmp_path / "disk", 4 * MIB, [(0, MIB), (3 * MIB, MIB)], seed=1)
    return tmp_path / "disk"


def test_a_server_that_lets_in_one_client_is_enough(disk: Path) -> None:
    with exported(disk, "--shared=1") as path, agent_on(path) as (there, _):
        assert there.read(0, 4 * MIB) == disk.read_bytes()
        assert there.runs(0, there.size) == [(MIB, False), (2 * MIB, True), (MIB, False)]


def test_a_socket_that_is_not_there_is_named(disk: Path) -> None:
    with pytest.raises(KitError, match="No such file"), agent_on(disk.with_name("none")):
        pass


def test_a_host_without_python_says_so() -> None:
    argv = ["sh", "-c", "echo 'sh: 1: python3: not found' >&2; exit 127"]
    with (
        serving_binary(argv, what="ssh") as program,
        pytest.raises(SourceLost, match="python3: not found"),
        agent_disk(program, "/x", "", "web1: vda"),
    ):
        pass


def test_it_ends_with_its_stdin(disk: Path) -> None:
    with exported(disk) as path, agent_on(path) as (there, program):
        for _ in range(20):
            there.digests(0, MIB)  # some of them under way
        there.close()
        deadline = time.monotonic() + 5
        while program.running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not program.running
