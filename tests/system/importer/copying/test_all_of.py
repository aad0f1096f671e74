"""A first pass of a block device by the agent: its zeros do not cross the wire."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from converter import CopyFailed, CopyOptions, SourceLost, copy, nbd_source, unix_uri
from importer.copying.comparison.agent import BLOCK
from importer.copying.comparison.agent_source import all_of
from importer.copying.rate import LimitedSource, Rate
from tests.system.converter.sshd import sshd
from tests.system.converter.support import JOURNALS
from tests.system.importer.copying.agents import (
    MIB,
    Interrupting,
    agent_on,
    exported,
    far_agent,
    make_disk,
    remote,
    serving,
    volume,
)
from tests.system.loops import loop

SIZE = 512 * MIB
# The first range is a little larger than 5 MiB and begins within a block; 16 MiB in total.
DATA = [(5000, 5 * MIB), (100 * MIB, 8 * MIB), (SIZE - 3 * MIB, 3 * MIB)]
STORED = 16 * MIB
# What crosses the wire for everything else: the agent's text, its replies for blocks of zeros, the
# first MiB for the disk's identity, the blocks at the ends of the ranges.
BESIDE = 2 * MIB
ORIGIN = {"domain": "web1", "disk": "vda"}
FIRST = CopyOptions(force=True, verify=True)
AGAIN = CopyOptions(force=True, verify=True, resume=True)
SLOW = Rate(20 * MIB)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("converter.engine.copy_run.SYNC_SECONDS", 0.0)
    monkeypatch.setattr("converter.engine.pool.TICK", 0.005)


@contextmanager
def device_of(disk: Path) -> Iterator[Path]:
    """A block device with the content of a file, under a name in the test's own directory."""
    with loop(disk) as device:
        link = disk.with_name("device")
        link.symlink_to(device)
        yield link


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    make_disk(tmp_path / "disk", SIZE, DATA, seed=1)
    return tmp_path / "disk"


@pytest.fixture
def device(disk: Path) -> Iterator[Path]:
    with device_of(disk) as found:
        yield found


@pytest.fixture
def target(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A volume with other data where the disk has some, and where it has none."""
    other = tmp_path / "other"
    make_disk(other, SIZE, [(0, 3 * MIB), (200 * MIB, 5 * MIB)], seed=2)
    with volume(other) as found:
        yield found


def test_only_what_is_not_zero_crosses_the_wire(
    disk: Path, device: Path, target: tuple[Path, Path]
) -> None:
    volume, file = target
    with remote(device) as there:
        assert list(there.all_runs()) == [(SIZE, False)]  # no NBD client can tell the zeros
        result = copy(all_of(there, ORIGIN), volume, FIRST)
        assert STORED < there.on_the_wire < STORED + BESIDE < SIZE // 20
    assert result.verified
    assert file.read_bytes() == disk.read_bytes()


def test_the_holes_of_a_file_are_not_even_read(disk: Path, target: tuple[Path, Path]) -> None:
    volume, file = target
    with remote(disk) as there:
        source = all_of(there, ORIGIN)
        data = sum(each.length for each in source.extents() if each.kind.name == "DATA")
        assert STORED <= data <= STORED + 2 * len(DATA) * BLOCK
        copy(source, volume, FIRST)
    assert file.read_bytes() == disk.read_bytes()


def test_over_ssh(disk: Path, device: Path, target: tuple[Path, Path], tmp_path: Path) -> None:
    volume, file = target
    with sshd(tmp_path) as far, exported(device) as path:
        before = far.wire_bytes()
        with far_agent(far, path) as there:
            copy(all_of(there, ORIGIN), volume, FIRST)
        assert far.wire_bytes() - before < STORED + 2 * BESIDE
    assert file.read_bytes() == disk.read_bytes()


def test_a_cut_line_and_another_connection(
    disk: Path, device: Path, target: tuple[Path, Path], tmp_path: Path
) -> None:
    volume, file = target
    with sshd(tmp_path) as far, exported(device) as path:
        cutting = Interrupting("copy", far.cut, 102 * MIB)
        with far_agent(far, path) as there, pytest.raises(CopyFailed) as failed:
            copy(all_of(there, ORIGIN, SLOW.take, 1), volume, FIRST, cutting)
        assert isinstance(failed.value.cause, SourceLost)
        begun = failed.value.left.resumable_at
        assert begun and begun > 90 * MIB
        with far_agent(far, path) as there:
            assert copy(all_of(there, ORIGIN), volume, AGAIN).resumed_at == begun
    assert file.read_bytes() == disk.read_bytes()
    assert not any(JOURNALS.iterdir())


@pytest.mark.parametrize("victim", ["agent", "server"])
def test_nbd_goes_on_with_what_an_agent_began(
    disk: Path, device: Path, target: tuple[Path, Path], victim: str
) -> None:
    volume, file = target
    with serving(device) as server, agent_on(server.path) as (there, program):
        pid = program.pid if victim == "agent" else server.pid
        killing = Interrupting("copy", lambda: os.kill(pid, signal.SIGKILL), 102 * MIB)
        with pytest.raises(CopyFailed) as failed:
            copy(all_of(there, ORIGIN, SLOW.take, 1), volume, FIRST, killing)
    server.path.unlink()
    with exported(device) as path, nbd_source(unix_uri(str(path)), origin=ORIGIN) as source:
        assert copy(source, volume, AGAIN).resumed_at == failed.value.left.resumable_at
    assert file.read_bytes() == disk.read_bytes()


def test_an_agent_goes_on_with_what_nbd_began(
    disk: Path, device: Path, target: tuple[Path, Path]
) -> None:
    volume, file = target
    with serving(device) as server, nbd_source(unix_uri(str(server.path)), origin=ORIGIN) as nbd:
        killing = Interrupting("copy", lambda: os.kill(server.pid, signal.SIGKILL), 102 * MIB)
        with pytest.raises(CopyFailed) as failed:
            copy(LimitedSource(nbd, Rate(200 * MIB)), volume, FIRST, killing)
    server.path.unlink()
    with remote(device) as there:
        assert copy(all_of(there, ORIGIN), volume, AGAIN).resumed_at == (
            failed.value.left.resumable_at
        )
    assert file.read_bytes() == disk.read_bytes()
