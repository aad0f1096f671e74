"""The agent on another host, over a real sshd."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from converter.errors import SourceLost
from converter.options import CopyOptions
from importer.copying.comparison.agent_disk import AgentDisk
from importer.copying.comparison.update import update
from tests.system.converter.sshd import HOST, Sshd, sshd
from tests.system.converter.support import wait_until
from tests.system.importer.copying.agents import (
    MIB,
    Interrupting,
    change,
    exported,
    far_agent,
    make_disk,
    volume,
)

SIZE = 64 * MIB


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("far")) as server:
        yield server


@contextmanager
def remote(far: Sshd, disk: Path) -> Iterator[AgentDisk]:
    with exported(disk) as path, far_agent(far, path) as found:
        yield found


def agents(far: Sshd) -> list[int]:
    found = []
    for pid in far.processes("python3"):
        with suppress(OSError):  # it has ended
            if b"'agent'" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_only_changes_cross_the_wire(far: Sshd, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    make_disk(disk, SIZE, [(0, 40 * MIB)], seed=1)
    with volume(disk) as (device, file):
        change(disk, 10, seed=2)
        before = far.wire_bytes()
        with remote(far, disk) as there:
            updated = update(there, device, CopyOptions())
        sent = far.wire_bytes() - before
        assert file.read_bytes() == disk.read_bytes()
    assert updated.wire < sent < updated.compared.different + MIB


def test_a_cut_line_leaves_nothing_there_and_another_run_goes_on(far: Sshd, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    make_disk(disk, SIZE, [(0, SIZE)], seed=1)
    with volume(disk) as (device, file):
        change(disk, 100, seed=2)
        with remote(far, disk) as there:
            assert agents(far)
            with pytest.raises(SourceLost, match="the agent on the KVM host: "):
                update(there, device, CopyOptions(), Interrupting("compare", far.cut))
        wait_until(lambda: not agents(far))
        with remote(far, disk) as there:
            update(there, device, CopyOptions())
        assert file.read_bytes() == disk.read_bytes()


_CONNECT = """
import sys
from importer.host.connection import connected
with connected(sys.argv[1]) as host:
    assert host.run(["echo", "ran"]).stdout == "ran\\n"
    with host.service(["cat"]) as cat:
        cat.send("served")
        print(cat.line(10))
"""


@pytest.mark.parametrize("noise", ["echo Welcome", r"printf '\033]0;kvm1\007'"])
def test_startup_files_may_print_something(far: Sshd, noise: str) -> None:
    """A title for the terminal has no newline at its end."""
    startup, users = far.home / ".bashrc", far.home / "passwd"
    before = users.read_text()
    users.write_text(before.replace(f"{far.home}:/bin/sh", f"{far.home}:/bin/bash"))
    startup.write_text(f"{noise}\ntouch ~/was-read\n")
    try:
        ended = subprocess.run(
            far.python(_CONNECT, HOST),
            env={**os.environ, "HOME": str(far.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        startup.unlink()
        users.write_text(before)
    assert (far.home / "was-read").exists()
    assert (ended.stdout, ended.returncode) == ("served\n", 0), ended.stderr
