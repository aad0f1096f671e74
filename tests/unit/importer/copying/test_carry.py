"""Which disks are copied again, and what counts as complete; no disk is copied here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

import converter
from converter import (
    BaseIncomplete,
    CopyFailed,
    CopyPlan,
    CopyResult,
    Kind,
    ResumeMismatch,
    Silent,
    SourceLost,
    TargetState,
    VerificationFailed,
)
from importer.copying import carry, opening
from importer.copying.carry import Carried, Carrier
from importer.copying.comparison.agent import EXTENT, MAP, READ
from importer.copying.comparison.agent_disk import AgentDisk
from importer.copying.comparison.agent_source import READERS, AgentSource
from importer.copying.methods import DiskWork
from importer.copying.moving import MovingSource
from importer.copying.opening import Export, Piece
from importer.copying.rate import LimitedSource, Rate
from importer.copying.several import CopiesFailed, CopiesStopped, DiskCopy
from node.errors import KitError
from tests.unit.importer.copying.peer import Peer, disk_of, message, read, replied
from tests.unit.importer.copying.source import VDA, VDB
from tests.unit.importer.fake_host import FakeHost, said

ORIGIN = {"domain": "web", "checkpoint": "point-1"}
EXPORT = Export(Path("/here"), "/there", "vda", "backup-vda")
EXPORT_B = replace(EXPORT, name="vdb")
# The same disk, and one on a block device.
VDB_FILE, VDB_DEVICE = replace(VDB, path="/srv/b.raw", is_block=False), VDB
SIZES = {
    "nbd+unix:///vda?socket=/here": VDA.size,
    "nbd+unix:///vdb?socket=/here": VDB.size,
    "nbd+unix:///?socket=/here": VDA.size,
}


class Opened:
    """A source that nothing reads."""

    name = format = "x"
    features: dict[str, str] = {}  # noqa: RUF012
    identity: dict[str, str] = {}  # noqa: RUF012
    status = sizes = None

    def __init__(self, size: int) -> None:
        self.size = size


class Copies:
    """In place of `copy_all`: fails as it is told to, once for each."""

    def __init__(self, *failures: BaseException) -> None:
        self.asked: list[list[DiskCopy]] = []
        self._failures = list(failures)

    def __call__(self, copies: Sequence[DiskCopy], _progress: object) -> dict[str, CopyResult]:
        self.asked.append(list(copies))
        if self._failures:
            raise self._failures.pop(0)
        return {each.name: result(each.name) for each in copies}

    @property
    def options(self) -> list[dict[str, tuple[bool, bool]]]:
        """Of each call, by disk: whether it was an increment, and whether it could go on."""
        return [
            {each.name: (each.options.increment, each.options.resume) for each in copies}
            for copies in self.asked
        ]


def result(name: str) -> CopyResult:
    plan = CopyPlan(name, "raw", Path("/dev/x"), 10, 10, {Kind.DATA: 7, Kind.SAME: 3}, ())
    return CopyResult(plan, None, None, True, 0, {})


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What sources were opened."""
    found: list[dict[str, Any]] = []

    @contextmanager
    def source(uri: str, *bitmap: str, **more: Any) -> Iterator[Opened]:
        found.append({"uri": uri, "bitmap": bitmap, **more})
        yield Opened(SIZES[uri])

    monkeypatch.setattr(converter, "nbd_source", source, raising=False)
    monkeypatch.setattr(opening, "changed_source", source)
    return found


class Host(FakeHost):
    """Starts nothing; whether the connection is lost is known."""

    def __init__(self, *, lost: bool = False) -> None:
        super().__init__(said())
        self._lost = lost

    def command(self, argv: Sequence[str], seconds: float | None = None) -> list[str]:
        assert seconds is None
        return list(argv)

    def is_lost(self) -> bool:
        return self._lost


def with_agents(monkeypatch: pytest.MonkeyPatch, size: int | None) -> list[AgentDisk]:
    """Agents of a disk of zeros; without a size, they do not start. Returns those that did."""
    started: list[AgentDisk] = []

    def answer(kind: int, number: int, _offset: int, length: int) -> bytes:
        if kind == MAP:
            return replied(number, EXTENT.pack(length, 0))
        return read(number, bytes(length)) if kind == READ else replied(number, bytes(256))

    @contextmanager
    def agent_disk(program: str, path: str, export: str, name: str) -> Iterator[AgentDisk]:
        assert (program, path, name) == ("python3", "/there", f"web disk {export}")
        if size is None:
            raise SourceLost(f"source {name}: the agent on the KVM host: python3: not found")
        with disk_of(Peer(message(size=size), answer)) as disk:
            disk.name = name
            started.append(disk)
            yield disk

    monkeypatch.setattr(opening, "serving_binary", lambda argv, **_: nullcontext(argv[0]))
    monkeypatch.setattr(opening, "agent_disk", agent_disk)
    return started


def carried(
    monkeypatch: pytest.MonkeyPatch,
    copies: Copies,
    *pieces: Piece,
    resume: bool = True,
    host: FakeHost | None = None,
    rate: Rate | None = None,
) -> tuple[Carried, list[str]]:
    monkeypatch.setattr(carry, "copy_all", copies)
    done: list[str] = []
    carrier = Carrier(host or Host(), ORIGIN, Silent(), rate, resume=resume)
    try:
        return carrier.carry(pieces, done.extend), done
    except BaseException as error:
        error.add_note(",".join(done))
        raise


ALL = Piece(DiskWork(VDA, "job", "all"), EXPORT, Path("/dev/xenvg/a"))
ALL_B = Piece(DiskWork(VDB_FILE, "job", "all"), EXPORT_B, Path("/dev/xenvg/b"))
DEVICE = Piece(DiskWork(VDB_DEVICE, "job", "all"), EXPORT_B, Path("/dev/xenvg/b"))
CHANGES = Piece(DiskWork(VDA, "job", "changes", "point-1"), EXPORT, Path("/dev/xenvg/a"))


def test_all_disks_are_copied_at_once(
    monkeypatch: pytest.MonkeyPatch, opened: list[dict[str, Any]]
) -> None:
    copies = Copies()
    total, done = carried(monkeypatch, copies, CHANGES, ALL_B)
    assert copies.options == [{"vda": (True, False), "vdb": (False, True)}]
    assert (done, total.wire, total.copied) == (["vda", "vdb"], 14, 14)
    assert opened[0]["uri"] == "nbd+unix:///vda?socket=/here"
    assert opened[0]["bitmap"] == ("backup-vda",)
    assert opened[0]["origin"] == {**ORIGIN, "disk": "vda"}


@pytest.mark.parametrize("work", ["all", "changes"])
def test_a_server_of_another_size_is_refused(
    monkeypatch: pytest.MonkeyPatch, work: Literal["all", "changes"]
) -> None:
    """A part of a disk would count as a complete copy, and so would a disk that has grown."""
    copies = Copies()
    with pytest.raises(KitError, match="21474836480 bytes, but 10737418240 in the plan"):
        carried(monkeypatch, copies, Piece(DiskWork(VDA, "job", work), EXPORT_B, Path("/dev/a")))
    assert copies.asked == []


def test_an_agent_reads_all_of_a_block_device(
    monkeypatch: pytest.MonkeyPatch, opened: list[dict[str, Any]]
) -> None:
    (started, copies) = with_agents(monkeypatch, VDB.size), Copies()
    total, done = carried(monkeypatch, copies, ALL, DEVICE)
    assert [each["uri"] for each in opened] == ["nbd+unix:///vda?socket=/here"]
    ((_, copy),) = copies.asked
    assert isinstance(copy.source, AgentSource)
    assert copy.source.identity["disk"] == "vdb" and copy.source.identity["checkpoint"] == "point-1"
    assert copies.options == [{"vda": (False, True), "vdb": (False, True)}]
    (disk,) = started
    assert (done, total.wire, total.copied) == (["vda", "vdb"], 7 + disk.on_the_wire, total.wire)
    assert total.wire < 1 << 20  # of 20 GiB of zeros


def test_an_agent_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is memory taken for it."""
    with_agents(monkeypatch, 1 << 62)
    with pytest.raises(KitError, match=f"{1 << 62} bytes, but {VDB.size} in the plan"):
        carried(monkeypatch, Copies(), DEVICE)


def test_without_an_agent_a_block_device_is_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
    opened: list[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with_agents(monkeypatch, None)
    _, done = carried(monkeypatch, Copies(), DEVICE)
    assert (done, [each["uri"] for each in opened]) == (["vdb"], ["nbd+unix:///vdb?socket=/here"])
    assert "python3: not found; it is read without: its zeros cross the wire, too" in caplog.text


def test_a_lost_connection_is_no_lack_of_an_agent(
    monkeypatch: pytest.MonkeyPatch, opened: list[dict[str, Any]]
) -> None:
    with_agents(monkeypatch, None)
    with pytest.raises(SourceLost):
        carried(monkeypatch, Copies(), DEVICE, host=Host(lost=True))
    assert opened == []


def test_a_rate_holds_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with_agents(monkeypatch, VDB.size)
    copies = Copies()
    carried(monkeypatch, copies, ALL, DEVICE, rate=Rate(1 << 20))
    ((nbd, agent),) = copies.asked
    assert isinstance(nbd.source, LimitedSource)
    assert agent.source.readers == 1 < READERS


def test_a_new_pass_does_not_look_for_an_interrupted_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = Copies()
    carried(monkeypatch, copies, ALL, resume=False)
    assert copies.options == [{"vda": (False, False)}]


def test_a_copy_that_cannot_go_on_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = ResumeMismatch(Path("/dev/xenvg/a"), "the source has changed")
    other = KitError("stopped", hint="")
    copies = Copies(CopiesFailed(changed, {"vda": changed, "vdb": other}, {}))
    _, done = carried(monkeypatch, copies, ALL, ALL_B)
    assert copies.options[1:] == [{"vda": (False, False)}, {"vdb": (False, True)}]
    assert done == ["vda", "vdb"]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The disks that are compared, which takes no time."""
    found: list[str] = []

    def compare(_: Carrier, piece: Piece) -> Carried:
        found.append(piece.target)
        return Carried(5, compared=3, compare_seconds=0.0)

    monkeypatch.setattr(Carrier, "_compare", compare)
    return found


def test_a_disk_whose_comparison_was_interrupted_is_compared_again(
    monkeypatch: pytest.MonkeyPatch, compared: list[str]
) -> None:
    """Changes since a checkpoint do not tell what the interrupted one has left."""
    unknown = BaseIncomplete(Path("/dev/xenvg/a"))
    copies = Copies(CopiesFailed(unknown, {"vda": unknown}, {}))
    total, done = carried(monkeypatch, copies, CHANGES, ALL_B)
    assert (compared, done) == (["vda"], ["vdb", "vda"])
    assert (total.wire, total.compared) == (5, 3)


@pytest.mark.parametrize("resume", [True, False])
def test_a_disk_that_an_earlier_run_copied_otherwise_is_compared(
    monkeypatch: pytest.MonkeyPatch, compared: list[str], resume: bool
) -> None:
    """The target's disk is not faulty. In a copy from the start, it is."""
    wrong = VerificationFailed(Path("/dev/xenvg/a"), "in the GiB from byte 0 on")
    error = CopyFailed(wrong, TargetState(complete=False, resumable_at=None))
    copies = Copies(CopiesFailed(error, {"vda": error}, {}))
    if not resume:
        with pytest.raises(CopiesFailed):
            carried(monkeypatch, copies, ALL, ALL_B, resume=False)
        assert compared == []
        return
    _, done = carried(monkeypatch, copies, ALL, ALL_B)
    assert (compared, done) == (["vda"], ["vdb", "vda"])


def test_disks_that_cannot_go_on_may_tell_so_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first one stops the others before they have come so far."""

    def failing(name: str, *stopped: str) -> CopiesFailed:
        error = CopyFailed(VerificationFailed(Path(f"/dev/{name}"), "there"), TargetState())
        other = KitError("stopped", hint="")
        return CopiesFailed(error, {name: error, **dict.fromkeys(stopped, other)}, {})

    copies = Copies(failing("vda", "vdb"), failing("vdb"))
    compared: list[str] = []
    monkeypatch.setattr(
        Carrier, "_compare", lambda _, piece: compared.append(piece.target) or Carried()
    )
    _, done = carried(monkeypatch, copies, ALL, ALL_B)
    assert (compared, done) == (["vda", "vdb"], ["vda", "vdb"])
    assert copies.options[1] == {"vdb": (False, True)}


def test_what_is_complete_is_noted_when_another_disk_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = SourceLost("gone")
    with pytest.raises(CopiesFailed) as failed:
        carried(monkeypatch, Copies(CopiesFailed(lost, {"vda": lost}, {})), ALL, ALL_B)
    assert failed.value.__notes__ == ["vdb"]


def test_what_is_complete_is_noted_when_a_signal_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"vda": TargetState(complete=True), "vdb": TargetState(resumable_at=5)}
    with pytest.raises(CopiesStopped) as stopped:
        carried(monkeypatch, Copies(CopiesStopped(15, left)), ALL, ALL_B)
    assert stopped.value.__notes__ == ["vda"]


def test_an_image_that_a_guest_changes_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = Copies()
    moving = Export(Path("/here"), "/there", moves=True)
    moving_b = replace(EXPORT_B, moves=True)
    carried(monkeypatch, copies, Piece(DiskWork(VDA, "image", "all"), moving, Path("/dev/a")))
    ((copy,),) = copies.asked
    assert isinstance(copy.source, MovingSource)
    copy.source.check_unchanged()
    with_agents(monkeypatch, VDB.size)
    carried(monkeypatch, copies, Piece(DiskWork(VDB, "image", "all"), moving_b, Path("/dev/a")))
    assert isinstance(copies.asked[-1][0].source, MovingSource)
