"""A disk that changes while its copy is interrupted: from a real qemu-nbd, by a real agent."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from converter import Silent
from importer.copying.carry import Carried, Carrier
from importer.copying.methods import DiskWork
from importer.copying.opening import Export, Piece
from importer.copying.rate import Rate
from importer.errors import CopiesFailed
from importer.plan.model import DiskPlan
from node.errors import KitError
from tests.system.converter import support
from tests.system.converter.support import MIB
from tests.system.importer.copying.agents import PYTHON, Interrupting, exported, make_disk
from tests.unit.importer.fake_host import FakeHost, said

SIZE = 48 * MIB


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("converter.engine.copy_run.SYNC_SECONDS", 0.0)
    monkeypatch.setattr("converter.engine.pool.TICK", 0.005)
    monkeypatch.setattr("importer.copying.several.TICK", 0.005)


class Here(FakeHost):
    """A KVM host on this node."""

    def command(self, argv: Sequence[str], seconds: float | None = None) -> list[str]:
        assert seconds is None
        return [PYTHON, *argv[1:]]


def fail() -> None:
    raise KitError("it is interrupted", hint="")


def test_a_disk_that_changed_while_its_copy_was_interrupted_is_compared(tmp_path: Path) -> None:
    """Its machine was off for both runs, and on in between."""
    disk, done = tmp_path / "disk", list[str]()
    make_disk(disk, SIZE, [(0, SIZE)], seed=1)
    plan = DiskPlan("vda", str(disk), "raw", False, SIZE, "xenvg", "web-root", SIZE)
    work = DiskWork(plan, "image", "all")
    origin = {"domain": "web", "checkpoint": ""}
    with support.target(tmp_path / "volume", SIZE) as device:

        def carry(carrier: Carrier) -> Carried:
            with exported(disk) as socket:
                try:
                    export = Export(socket, str(socket))
                    return carrier.carry([Piece(work, export, device)], done.extend)
                finally:
                    socket.unlink()

        first = Interrupting("copy", fail, 16 * MIB)
        with pytest.raises(CopiesFailed, match="interrupted") as failed:
            carry(Carrier(Here(said()), origin, first, Rate(20 * MIB)))
        assert (failed.value.left["vda"].resumable_at or 0) > 4 * MIB
        with disk.open("r+b") as file:
            file.seek(2 * MIB)
            file.write(b"changed")
        found = carry(Carrier(Here(said()), origin, Silent(), resume=True))
        support.require_same(device, disk)
    assert done == ["vda"]
    assert found.compared == SIZE and found.wire < MIB
