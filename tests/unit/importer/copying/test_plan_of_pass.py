"""What a pass of a running domain does, by its journal and what runs there."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converter import Silent, SourceLost
from importer import journal
from importer.copying import passes, session
from importer.copying.carry import Carried
from importer.copying.jobs import servers
from importer.copying.jobs.watch_script import owner_of
from importer.copying.passes import Reading
from importer.copying.session import Session
from importer.errors import CopiesFailed, ForeignJob, HostLost
from importer.journal import ImportState, Journal, Pass
from node.errors import KitError
from node.run import Result
from tests.unit.importer.copying import source
from tests.unit.importer.copying.source import DIRECTORY, NEXT, PLAN, POINT, SOCKET, seen, sizes
from tests.unit.importer.fake_host import FakeHost

VOLUMES = {"vda": Path("/dev/xenvg/web-root"), "vdb": Path("/dev/xenvg/web-srv")}
FIRST = Pass(1, False, POINT, 1.0, complete=True, done=("vda", "vdb"))
CLEAN = {"checkpoints": POINT, "sizes": sizes(POINT, "size='4096'")}
LOST = {"checkpoints": POINT, "sizes": sizes(POINT, "")}


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Journal]:
    with journal.begun(PLAN, "text", tmp_path / "imports") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "new_token", lambda: source.TOKEN)
    monkeypatch.setattr(passes, "new_checkpoint", lambda _: NEXT)


class Source(FakeHost):
    """Prepares a directory for scratch files when asked to, and says yes to all else."""

    def __init__(self) -> None:
        super().__init__(self._answered)

    def _answered(self, argv: list[str]) -> Result:
        prepares = any("mkdir" in word for word in argv)
        return Result(0, f"{50 << 30}\n{SOCKET.rpartition('/')[0]}\n" if prepares else "", "")

    def ran(self, word: str) -> list[list[str]]:
        """The commands with a word."""
        return [argv for argv in self.asked if any(word in each for each in argv)]


def planned(record: Journal, host: FakeHost, *before: Pass, **told: str) -> Reading:
    def known(state: ImportState) -> ImportState:
        return replace(state, passes=before, source_directory=DIRECTORY if before else "")

    record.update(known)
    current = Session(host, PLAN, record, VOLUMES, Silent())
    return passes._planned(current, seen(current.point(), **told))


def works(reading: Reading) -> dict[str, tuple[str, str]]:
    return {each.disk.target: (each.work, each.since) for each in reading.works}


def test_the_first_pass_copies_all_and_makes_a_checkpoint(record: Journal) -> None:
    host = Source()
    found = planned(record, host)
    assert works(found) == {"vda": ("all", ""), "vdb": ("all", "")}
    assert found.begins
    assert found.checkpoint is not None
    assert (found.checkpoint.name, list(found.checkpoint.targets)) == (NEXT, ["vda"])
    assert found.place.socket == SOCKET
    noted = record.read()
    assert noted.source_directory == DIRECTORY
    assert noted.passes[0].checkpoint == NEXT
    (prepared,) = host.ran("mkdir")
    assert prepared[4:] == [
        *(source.UUID, DIRECTORY, owner_of(source.TOKEN)),
        *("vda", str(10 << 30), "vdb", str(20 << 30)),
    ]


def test_the_next_pass_copies_changes_and_compares_what_has_no_bitmap(record: Journal) -> None:
    host = Source()
    found = planned(record, host, FIRST, **CLEAN)
    assert works(found) == {"vda": ("changes", POINT), "vdb": ("compare", "")}
    assert found.checkpoint is not None and found.checkpoint.name == NEXT
    assert found.current.number == 2
    assert not host.ran("checkpoint-delete")


def test_lost_bitmaps_make_it_compare(record: Journal, caplog: pytest.LogCaptureFixture) -> None:
    found = planned(record, Source(), FIRST, **LOST)
    assert works(found) == {"vda": ("compare", ""), "vdb": ("compare", "")}
    assert found.checkpoint is not None
    assert "bitmaps of its disks are lost" in caplog.text


def test_a_checkpoint_of_an_incomplete_pass_is_deleted(record: Journal) -> None:
    host = Source()
    before = Pass(2, False, NEXT, 2.0)
    found = planned(record, host, FIRST, before, **{**CLEAN, "checkpoints": f"{POINT}\nX-{NEXT}"})
    assert works(found)["vda"] == ("changes", POINT)
    assert found.current.number == 2
    assert found.begins
    assert not host.ran("checkpoint-delete")  # neither the last complete one nor another program's
    stale = POINT.replace("aaaaaa", "cccccc")
    planned(record, host, FIRST, before, **{**CLEAN, "checkpoints": f"{POINT}\n{stale}"})
    (deleted,) = host.ran("checkpoint-delete")
    assert f"--checkpointname={stale}" in deleted


def test_an_interrupted_first_pass_keeps_its_checkpoint(record: Journal) -> None:
    before = Pass(1, False, POINT, 1.0, done=("vda",))
    found = planned(record, Source(), before, **CLEAN)
    assert works(found) == {"vdb": ("all", "")}
    assert found.checkpoint is None
    assert (found.current.checkpoint, found.current.done) == (POINT, ("vda",))


def test_an_interrupted_first_pass_begins_anew_if_its_bitmap_is_lost(record: Journal) -> None:
    before = Pass(1, False, POINT, 1.0, done=("vda",))
    found = planned(record, Source(), before, **LOST)
    assert works(found) == {"vda": ("all", ""), "vdb": ("all", "")}
    assert found.checkpoint is not None
    assert (found.current.checkpoint, found.current.done) == (NEXT, ())


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ((FIRST, Pass(2, False, NEXT, 2.0)), {"vda": ("changes", POINT), "vdb": ("compare", "")}),
        ((FIRST, Pass(2, False, NEXT, 2.0, done=("vda",))), {"vdb": ("compare", "")}),
    ],
)
def test_our_job_goes_on(
    record: Journal, before: tuple[Pass, ...], expected: dict[str, Any]
) -> None:
    host = Source()
    found = planned(record, host, *before, backup=source.JOB, **CLEAN)
    assert works(found) == expected
    assert not found.begins
    assert host.asked == []


def test_the_job_of_an_interrupted_first_pass_goes_on_with_all(record: Journal) -> None:
    whole = source.JOB.replace(f"incremental='{POINT}'", "")
    found = planned(record, Source(), Pass(1, False, POINT, 1.0), backup=whole, **CLEAN)
    assert works(found) == {"vda": ("all", ""), "vdb": ("all", "")}


def test_our_job_that_no_pass_needs_is_ended(record: Journal) -> None:
    host = Source()
    found = planned(record, host, FIRST, backup=source.JOB, **CLEAN)
    assert found.begins
    assert host.ran("domjobabort")


@pytest.mark.parametrize(
    ("told", "whose"),
    [
        ({"backup": source.JOB.replace(source.TOKEN, "ffffffffffffffff")}, "another import"),
        ({"backup": "<domainbackup mode='push'/>"}, "another program"),
        ({"job": "Job type: Unbounded"}, "migration"),
    ],
)
def test_a_foreign_job_is_left_alone(record: Journal, told: dict[str, str], whose: str) -> None:
    host = Source()
    with pytest.raises(ForeignJob, match=whose):
        planned(record, host, FIRST, **told)
    assert host.asked == []


def test_no_job_is_ours_before_the_first_pass(record: Journal) -> None:
    with pytest.raises(ForeignJob, match="another import"):
        planned(record, Source(), backup=source.JOB)


@pytest.mark.parametrize(("is_done", "expected"), [(True, None), (False, "shut down")])
def test_a_guest_that_did_not_shut_down_in_time_may_still_do_so(
    is_done: bool, expected: str | None
) -> None:
    state = ImportState("web", "kvm1", "web", source.UUID, "", 1.0, stopped_by_us="shut down")
    if is_done:  # it was off, and somebody has started it
        state = state.with_step("final copy")
    found = session._is_not_final(state)
    assert found.stopped_by_us == expected
    assert not found.done("final copy")


def test_a_pass_that_was_killed_when_all_was_copied_needs_no_job(record: Journal) -> None:
    """libvirt begins no job without disks."""
    host = Source()
    before = Pass(1, False, POINT, 1.0, done=("vda", "vdb"))

    def known(state: ImportState) -> ImportState:
        return replace(state, passes=(before,), source_directory=DIRECTORY)

    record.update(known)
    current = Session(host, PLAN, record, VOLUMES, Silent())
    done = passes._from_job(current, seen(POINT, **CLEAN))
    assert done.complete and done.checkpoint == POINT
    assert record.read().passes == (done,)
    assert host.asked[-1] == ["rm", "-rf", "--", DIRECTORY]
    assert not host.ran("backup-begin")


def test_the_last_checkpoint_is_deleted_when_the_journal_has_the_next_one(
    record: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rerun after SIGKILL in between would find no bitmap to go on from."""
    for name in ("watched", "explained", "ending"):
        monkeypatch.setattr(passes, name, lambda *_: nullcontext())
    monkeypatch.setattr(passes, "exported", lambda *_: nullcontext([]))
    monkeypatch.setattr(passes, "carry", lambda _, current, *__, **___: (Carried(), current))
    noted: list[Pass] = []

    class Deleting(Source):
        def _answered(self, argv: list[str]) -> Result:
            if "checkpoint-delete" in argv and f"--checkpointname={POINT}" in argv:
                noted.append(record.read().passes[-1])
            return super()._answered(argv)

    def known(state: ImportState) -> ImportState:
        return replace(state, passes=(FIRST,), source_directory=DIRECTORY)

    record.update(known)
    current = Session(Deleting(), PLAN, record, VOLUMES, Silent())
    passes._from_job(current, seen(POINT, **CLEAN))
    assert [(each.checkpoint, each.complete) for each in noted] == [(NEXT, True)]


def test_disks_that_are_not_in_the_plan_are_named(
    record: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    more = "<disk type='file'><source file='/srv/new'/><target dev='vdd'/></disk></devices>"
    facts = seen(xml=source.XML.replace("</devices>", more))
    assert facts.unplanned == ("vdd",)
    Session(Source(), PLAN, record, VOLUMES, Silent()).note_source(facts)
    assert "disk vdd is not in the plan" in caplog.text
    assert record.read().source_before == "running"


def test_too_little_room_for_scratch_files_is_refused(record: Journal) -> None:
    class Full(Source):
        def _answered(self, argv: list[str]) -> Result:
            result = super()._answered(argv)
            return replace(result, stdout=result.stdout.replace(str(50 << 30), str(1 << 30)))

    host = Full()
    with pytest.raises(Exception, match="only 1 GiB are free there; 1 GiB have to stay free"):
        planned(record, host)
    assert host.ran("rm")[-1] == ["rm", "-rf", "--", DIRECTORY]


@pytest.mark.parametrize("lost", [False, True])
def test_a_lost_connection_is_told_when_images_are_read(
    record: Journal, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """So that another one is made, and the copy goes on."""
    error = SourceLost("source web disk vda: the agent on the KVM host: it is gone")
    failed = CopiesFailed(error, {"vda": error}, {})

    def carry(*_: object, **__: object) -> None:
        raise failed

    host = Source()
    monkeypatch.setattr(host, "is_lost", lambda: lost)
    monkeypatch.setattr(passes, "images", lambda *_, **__: nullcontext([]))
    monkeypatch.setattr(passes, "carry", carry)
    current = Session(host, PLAN, record, VOLUMES, Silent())
    with pytest.raises(KitError, match="it is gone") as caught:
        passes.from_images(current, seen(state="shut off (shutdown)"))
    assert type(caught.value) is (HostLost if lost else CopiesFailed)


def test_servers_that_a_cut_run_has_left_are_ended_first(
    record: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would keep the domain from starting until sshd finds their connection dead."""
    host = Source()
    ended = servers.command([disk.path for disk in PLAN.disks])

    def images(*_: object, **__: object) -> nullcontext[list[object]]:
        assert host.asked == [ended]
        return nullcontext([])

    monkeypatch.setattr(passes, "images", images)
    monkeypatch.setattr(passes, "carry", lambda _, current, *__, **___: (Carried(), current))
    current = Session(host, PLAN, record, VOLUMES, Silent())
    assert passes.from_images(current, seen(state="shut off (shutdown)")).complete
