"""Volumes are made like disks of a KVM host by comparison: an agent, qemu-nbd, a loop device."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from converter import copy, open_source
from converter.errors import BaseIncomplete, SourceLost, TargetTooSmall
from converter.extents import Kind
from converter.options import CopyOptions
from importer.copying.comparison.agent import BLOCK
from importer.copying.comparison.compare import compare
from importer.copying.comparison.update import update
from node.cleanup import Terminated, signals_raise
from node.errors import KitError
from tests.system.converter.support import output
from tests.system.importer.copying.agents import (
    MIB,
    Interrupting,
    agent_on,
    change,
    make_disk,
    remote,
    serving,
    volume,
)
from tests.system.loops import loop

SIZE = 96 * MIB
DATA = [(0, 20 * MIB), (40 * MIB + 5000, 10 * MIB), (SIZE - 3 * MIB, 3 * MIB)]
OPTIONS = CopyOptions()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    make_disk(tmp_path / "disk", SIZE, DATA, seed=1)
    return tmp_path / "disk"


def test_nothing_is_sent_when_nothing_has_changed(disk: Path) -> None:
    with volume(disk) as (device, _), remote(disk) as there:
        updated = update(there, device, OPTIONS)
    assert updated.compared.different == 0
    assert updated.compared.compared == SIZE
    assert updated.wire < 3 * BLOCK + SIZE // 1000


@pytest.mark.parametrize("seed", range(4))
def test_only_what_has_changed_is_sent(disk: Path, seed: int) -> None:
    with volume(disk) as (device, file):
        touched = change(disk, 20, seed)
        with remote(disk) as there:
            updated = update(there, device, OPTIONS)
            assert 0 < updated.compared.different <= len(touched) * BLOCK
            assert updated.wire < len(touched) * BLOCK + SIZE // 1000 + MIB
            again = compare(there, device, OPTIONS)
            assert (again.compared, again.different) == (SIZE, 0)
        assert file.read_bytes() == disk.read_bytes()


def test_holes_and_data_change_places(disk: Path) -> None:
    with volume(disk) as (device, file):
        subprocess.run(["fallocate", "-p", "-o", str(MIB), "-l", str(9 * MIB), disk], check=True)
        with disk.open("r+b") as there:
            there.seek(30 * MIB + 4096)
            there.write(b"x" * 8192)
        with remote(disk) as source:
            updated = update(source, device, OPTIONS)
        assert updated.compared.different == 9 * MIB + BLOCK
        assert updated.wire < SIZE // 1000 + MIB
        assert file.read_bytes() == disk.read_bytes()


@pytest.mark.parametrize("size", [512, BLOCK - 512, 3 * MIB + 512])
def test_a_disk_may_end_within_a_block(size: int, tmp_path: Path) -> None:
    make_disk(tmp_path / "disk", size, [(0, size)], seed=1)
    with volume(tmp_path / "disk", larger=MIB - size % MIB) as (device, file):
        make_disk(tmp_path / "disk", size, [(0, size)], seed=2)
        with remote(tmp_path / "disk") as there:
            update(there, device, OPTIONS)
        assert file.read_bytes()[:size] == (tmp_path / "disk").read_bytes()
        assert not any(file.read_bytes()[size:])


def partitioned(path: Path) -> None:
    """A GPT with a partition of data and one of swap."""
    path.touch()
    os.truncate(path, SIZE)
    script = "label: gpt\nsize=40MiB\nsize=40MiB, type=swap\n"
    subprocess.run(["sfdisk", "--quiet", path], input=script, text=True, check=True)
    change_at(path, 1 * MIB, 40 * MIB, seed=1)
    with loop(path, 41 * MIB, 40 * MIB, read_only=False) as swap:
        subprocess.run(["mkswap", "-q", "-U", UUID, swap], check=True)


UUID = "8c6b1c3e-52d4-4a5b-9d15-3f4f1c1b9c60"


def change_at(path: Path, start: int, length: int, seed: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(seed).randbytes(length))


def test_swap_and_gpt_are_those_of_the_volume(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    partitioned(disk)
    with volume(disk, larger=16 * MIB) as (device, file):
        with open_source(disk, "raw") as source:
            copy(source, device, CopyOptions(force=True))
        change_at(disk, 3 * MIB, 4096, seed=2)
        change_at(disk, 50 * MIB, 20 * MIB, seed=3)  # of the swap
        with remote(disk) as there:
            first = update(there, device, OPTIONS)
            assert first.compared.different == BLOCK
            assert first.compared.compared < SIZE - 40 * MIB
            assert first.wire < 2 * MIB
            assert compare(there, device, OPTIONS).different == 0
        assert file.read_bytes()[2 * MIB : 41 * MIB] == disk.read_bytes()[2 * MIB : 41 * MIB]
        assert UUID in output("blkid", "-p", "-O", str(41 * MIB), device)
        assert "No problems found" in output("sgdisk", "--verify", device)


def test_one_byte_of_the_volume_that_differs_is_found(disk: Path) -> None:
    with volume(disk) as (device, file), remote(disk) as there:
        change_at(file, 2 * BLOCK + 7, 1, seed=5)
        found = compare(there, device, OPTIONS)
        assert found.different == BLOCK
        (data,) = (each for each in found.blocks.extents() if each.kind is Kind.DATA)
        assert (data.guest_offset, data.length) == (2 * BLOCK, BLOCK)


def test_a_volume_that_is_too_small_is_refused(disk: Path) -> None:
    with volume(disk) as (device, _):
        os.truncate(disk, SIZE + MIB)
        with remote(disk) as there, pytest.raises(TargetTooSmall):
            update(there, device, OPTIONS)


@pytest.mark.parametrize("phase", ["compare", "copy"])
@pytest.mark.parametrize("victim", ["agent", "server"])
def test_another_comparison_goes_on_where_one_was_killed(
    disk: Path, phase: str, victim: str
) -> None:
    with volume(disk) as (device, file):
        before = file.read_bytes()
        change(disk, 200, seed=9)
        with serving(disk) as server, agent_on(server.path) as (there, program):
            pid = program.pid if victim == "agent" else server.pid
            killing = Interrupting(phase, lambda: os.kill(pid, signal.SIGKILL))
            with pytest.raises((SourceLost, KitError), match=r"source web1: vda: the agent"):
                update(there, device, OPTIONS, killing)
        if phase == "compare":
            assert file.read_bytes() == before
        else:  # a copy of changes only would not do
            with open_source(disk, "raw") as source, pytest.raises(BaseIncomplete):
                copy(source, device, CopyOptions(increment=True))
        with remote(disk) as there:
            update(there, device, OPTIONS)
        assert file.read_bytes() == disk.read_bytes()
        with open_source(disk, "raw") as source:
            copy(source, device, CopyOptions(increment=True))


def test_a_signal_ends_a_comparison(disk: Path) -> None:
    with volume(disk) as (device, _), remote(disk) as there, signals_raise():
        stopping = Interrupting("compare", lambda: os.kill(os.getpid(), signal.SIGTERM), MIB)
        with pytest.raises(Terminated):
            update(there, device, OPTIONS, stopping)


def test_the_rate_is_that_of_the_caller(disk: Path) -> None:
    read: list[int] = []
    with volume(disk) as (device, _):
        change_at(disk, 40 * BLOCK, 3 * MIB, seed=4)
        with remote(disk) as there:
            compare(there, device, OPTIONS, throttle=read.append)
            compared, data = sum(read), sum(length for _, length in DATA)
            assert data <= compared <= data + 6 * BLOCK  # a hole may begin within a block
            assert max(read) <= 2 * MIB
            update(there, device, OPTIONS, throttle=read.append)
    assert 3 * MIB <= sum(read) - 2 * compared < 3 * MIB + 16 * BLOCK
