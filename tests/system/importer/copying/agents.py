"""The agent, as a local program beside a real qemu-nbd, as on a KVM host."""

import os
import random
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from converter.progress import Silent
from importer.copying.comparison.agent import BLOCK
from importer.copying.comparison.agent_disk import AgentDisk, agent_disk, command
from node.service import BinaryService, serving_binary
from tests.system.converter.sshd import HOST, Sshd
from tests.system.loops import loop

PYTHON = "/usr/bin/python3"
MIB = 1 << 20


class Server(NamedTuple):
    """A qemu-nbd."""

    path: Path  # of its socket
    pid: int


@contextmanager
def serving(disk: Path, *options: str) -> Iterator[Server]:
    """A qemu-nbd that exports a raw disk read-only."""
    path = disk.with_name(f"{disk.name}.sock")
    argv = ["qemu-nbd", "--read-only", "--persistent", "--format=raw", f"--socket={path}"]
    with subprocess.Popen([*argv, *(options or ["--shared=8"]), str(disk)]) as server:
        try:
            while not path.exists():
                assert server.poll() is None
                time.sleep(0.01)
            yield Server(path, server.pid)
        finally:
            server.kill()


@contextmanager
def exported(disk: Path, *options: str) -> Iterator[Path]:
    """The same; yields its socket."""
    with serving(disk, *options) as server:
        yield server.path


@contextmanager
def agent_on(path: Path) -> Iterator[tuple[AgentDisk, BinaryService]]:
    """An agent that reads what is exported at a socket."""
    argv = [PYTHON, *command()[1:]]
    with (
        serving_binary(argv, what="agent", grace=5) as program,
        agent_disk(program, str(path), "", "web1: vda") as disk,
    ):
        yield disk, program


@contextmanager
def far_agent(far: Sshd, path: Path) -> Iterator[AgentDisk]:
    """The same on another host, over SSH."""
    ssh = far.argv("ssh", HOST, f"echo Welcome; exec {shlex.join(command())}")
    with (
        serving_binary(ssh, what="ssh", grace=5) as program,
        agent_disk(program, str(path), "", "web1: vda") as disk,
    ):
        yield disk


@contextmanager
def remote(disk: Path) -> Iterator[AgentDisk]:
    """A disk as an agent reads it."""
    with exported(disk) as path, agent_on(path) as (found, _):
        yield found


def make_disk(path: Path, size: int, data: list[tuple[int, int]], seed: int) -> None:
    """A sparse disk with noise in some ranges: offsets and lengths, bytes."""
    noise = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        for offset, length in data:
            file.seek(offset)
            file.write(noise.randbytes(length))


def change(path: Path, count: int, seed: int) -> set[int]:
    """Writes `count` times a few bytes, zeros or noise; returns the numbers of the blocks."""
    chosen = random.Random(seed)
    size, touched = path.stat().st_size, set()
    with path.open("r+b") as file:
        for _ in range(count):
            length = chosen.choice([1, 512, 4096, 3 * BLOCK])
            offset = chosen.randrange(size - length)
            file.seek(offset)
            file.write(bytes(length) if chosen.random() < 0.3 else chosen.randbytes(length))
            touched |= set(range(offset // BLOCK, (offset + length - 1) // BLOCK + 1))
    return touched


@contextmanager
def volume(like: Path, larger: int = 0) -> Iterator[tuple[Path, Path]]:
    """A block device that holds a copy, and the file behind it."""
    file = like.with_name("volume")
    shutil.copyfile(like, file)
    os.truncate(file, like.stat().st_size + larger)
    with loop(file, read_only=False) as device:
        yield device, file


class Interrupting(Silent):
    """Does something in a phase of a copy, once `after` bytes are done."""

    def __init__(self, phase: str, act: Callable[[], None], after: int = 0) -> None:
        self._at = (phase, after)
        self._act: Callable[[], None] | None = act
        self._phase = ""

    def begin(self, phase: str, _total: int, done: int = 0) -> None:
        self._phase = phase
        self.update(done)

    def update(self, done: int) -> None:
        phase, after = self._at
        if self._act is not None and phase == self._phase and done >= after:
            act, self._act = self._act, None
            act()
