"""Which disks are copied again, and what counts as complete; no disk is copied here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

import converter
from converter import (
    BaseIncomplete,
    CopyPlan,
    CopyResult,
    Kind,
    ResumeMismatch,
    Silent,
    SourceLost,
    TargetState,
)
from importer.copying import carry
from importer.copying.carry import Carried, Carrier, Export, Piece
from importer.copying.methods import DiskWork
from importer.copying.moving import MovingSource
from importer.copying.several import CopiesFailed, CopiesStopped, DiskCopy
from node.errors import KitError
from tests.unit.importer.copying.source import VDA, VDB
from tests.unit.importer.fake_host import FakeHost, said

ORIGIN = {"domain": "web", "checkpoint": "point-1"}
EXPORT = Export(Path("/here"), "/there", "vda", "backup-vda")
EXPORT_B = replace(EXPORT, name="vdb")
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
    monkeypatch.setattr(carry, "changed_source", source)
    return found


def carried(
    monkeypatch: pytest.MonkeyPatch, copies: Copies, *pieces: Piece, resume: bool = True
) -> tuple[Carried, list[str]]:
    monkeypatch.setattr(carry, "copy_all", copies)
    done: list[str] = []
    carrier = Carrier(FakeHost(said()), ORIGIN, Silent(), resume=resume)
    try:
        return carrier.carry(pieces, done.extend), done
    except BaseException as error:
        error.add_note(",".join(done))
        raise


ALL = Piece(DiskWork(VDA, "job", "all"), EXPORT, Path("/dev/xenvg/a"))
ALL_B = Piece(DiskWork(VDB, "job", "all"), EXPORT_B, Path("/dev/xenvg/b"))
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


def test_a_disk_whose_comparison_was_interrupted_is_compared_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Changes since a checkpoint do not tell what the interrupted one has left."""
    unknown = BaseIncomplete(Path("/dev/xenvg/a"))
    copies = Copies(CopiesFailed(unknown, {"vda": unknown}, {}))
    compared: list[str] = []

    def compare(_: Carrier, piece: Piece) -> Carried:
        compared.append(piece.target)
        return Carried(5, compared=3, compare_seconds=0.0)

    monkeypatch.setattr(Carrier, "_compare", compare)
    total, done = carried(monkeypatch, copies, CHANGES, ALL_B)
    assert (compared, done) == (["vda"], ["vdb", "vda"])
    assert (total.wire, total.compared) == (5, 3)


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
    carried(monkeypatch, copies, Piece(DiskWork(VDA, "image", "all"), moving, Path("/dev/a")))
    ((copy,),) = copies.asked
    assert isinstance(copy.source, MovingSource)
    copy.source.check_unchanged()
