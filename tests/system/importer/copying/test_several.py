"""Several disks at once, from qemu-nbd into devices: all of them, or where each one goes on."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from converter import CopyFailed, CopyOptions, Progress, Silent, nbd_source, signals_raise, unix_uri
from converter.progress import Json
from importer.copying.rate import LimitedSource, Rate
from importer.copying.several import DiskCopy, copy_all
from importer.errors import CopiesFailed, CopiesStopped
from tests.system.converter import support
from tests.system.converter.support import JOURNALS, MIB
from tests.system.importer.nbd_server import served

SIZE = 48 * MIB
NAMES = ("vda", "vdb", "vdc")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("converter.engine.copy_run.SYNC_SECONDS", 0.0)
    monkeypatch.setattr("converter.engine.pool.TICK", 0.005)
    monkeypatch.setattr("importer.copying.several.TICK", 0.005)


class Disks:
    """Three images and the devices that they are copied to."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        self.devices = {
            name: stack.enter_context(support.target(directory / f"{name}.target", SIZE))
            for name in NAMES
        }
        for number, name in enumerate(NAMES):
            raw = directory / f"{name}.raw"
            raw.write_bytes(support.noise(SIZE, number))
            image = directory / f"{name}.qcow2"
            support.output("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)

    def copies(self, stack: ExitStack, options: CopyOptions, rate: Rate | None) -> list[DiskCopy]:
        made = []
        for name in NAMES:
            socket = self._directory / name
            image = self._directory / f"{name}.qcow2"
            self.servers[name] = stack.enter_context(served(image, socket))
            uri = unix_uri(str(socket))
            source = stack.enter_context(nbd_source(uri, name=name, origin={"disk": name}))
            limited = LimitedSource(source, rate) if rate else source
            made.append(DiskCopy(name, limited, self.devices[name], options))
        return made

    def require_copied(self) -> None:
        for name, device in self.devices.items():
            support.require_same(device, self._directory / f"{name}.raw")
        assert not any(JOURNALS.iterdir())


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    with ExitStack() as stack:
        yield Disks(tmp_path, stack)


class OnceAllAreCopied(Silent):
    """Acts once some MiB of each disk are copied."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._done: dict[str, int] = {}

    def part(self, name: str) -> Progress:
        told = Silent()

        def update(done: int) -> None:
            self._done[name] = done
            if min(self._done.get(each, 0) for each in NAMES) > 5 * MIB:
                self._act()

        told.update = update  # type: ignore[method-assign]
        return told


FIRST = CopyOptions(force=True)
AGAIN = CopyOptions(force=True, resume=True, verify=True)


def test_a_machine_of_three_disks(disks: Disks, tmp_path: Path) -> None:
    told = tmp_path / "told"
    with ExitStack() as stack:
        stream = stack.enter_context(told.open("w"))
        copies = disks.copies(stack, CopyOptions(force=True, verify=True), None)
        results = copy_all(copies, Json(stream, "told"))
    assert set(results) == set(NAMES)
    assert all(result.verified for result in results.values())
    disks.require_copied()
    objects = [json.loads(line) for line in told.read_text().splitlines()]
    last = {(each.get("disk"), each["phase"]): each for each in objects}
    for phase in ("copy", "verify"):
        for name in NAMES:
            assert last[name, phase]["bytes_done"] == SIZE
        assert last[None, phase]["bytes_done"] == last[None, phase]["bytes_total"] == 3 * SIZE


def test_one_that_fails_stops_all_and_all_go_on(disks: Disks) -> None:
    with ExitStack() as stack:
        copies = disks.copies(stack, FIRST, Rate(20 * MIB))
        with pytest.raises(CopiesFailed) as failed:
            copy_all(copies, OnceAllAreCopied(lambda: disks.servers["vdb"].kill()))
    assert set(failed.value.left) == set(NAMES)
    assert "vdb" in failed.value.message
    # Reads of vdb wait for the rate, too, so another one may be complete before it fails.
    for name, left in failed.value.left.items():
        assert left.complete != isinstance(failed.value.failures.get(name), CopyFailed)
    assert not failed.value.left["vdb"].complete
    with ExitStack() as stack:
        results = copy_all(disks.copies(stack, AGAIN, None), Silent())
    for name, left in failed.value.left.items():
        assert results[name].resumed_at == (left.resumable_at or 0)
    assert any(left.resumable_at for left in failed.value.left.values())
    disks.require_copied()


def test_a_signal_stops_all_and_all_go_on(disks: Disks) -> None:
    with ExitStack() as stack:
        copies = disks.copies(stack, FIRST, Rate(20 * MIB))
        with pytest.raises(CopiesStopped) as stopped, signals_raise():
            copy_all(copies, OnceAllAreCopied(lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert set(stopped.value.left) == set(NAMES)
    assert not any(left.complete for left in stopped.value.left.values())
    with ExitStack() as stack:
        results = copy_all(disks.copies(stack, AGAIN, None), Silent())
    assert any(result.resumed_at for result in results.values())
    disks.require_copied()
