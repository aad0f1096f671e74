"""What an import leaves on the KVM host: nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from importer import journal
from importer.copying.jobs import cleanup, servers
from importer.copying.jobs.watch_script import owner_of
from importer.journal import ImportState
from node.errors import CommandError, KitError
from node.run import Result
from tests.unit.importer.copying.source import (
    DIRECTORY,
    GIB,
    NEXT,
    PLAN,
    POINT,
    TOKEN,
    UUID,
    VDA,
    XML,
    image,
    seen,
    told,
)
from tests.unit.importer.fake_host import FakeHost

VIRSH = ["virsh", "--connect", "qemu:///system", "--quiet"]
FOREIGN = "nightly-backup"


def delete(name: str, *flags: str) -> list[str]:
    named = f"--checkpointname={name}"
    return [*VIRSH, "checkpoint-delete", f"--domain={UUID}", named, *flags]


def fails(what: Callable[[list[str]], bool], why: str) -> FakeHost:
    return FakeHost(lambda argv: Result(1, "", why) if what(argv) else Result(0, "", ""))


def test_only_our_checkpoints_are_deleted() -> None:
    host = fails(lambda _: False, "")
    points = f"{FOREIGN}\n{POINT}\n{NEXT}"
    cleanup.delete_checkpoints(host, PLAN, seen(checkpoints=points), TOKEN, [NEXT])
    assert host.asked == [delete(POINT)]


def test_a_checkpoint_whose_bitmap_is_lost_is_forgotten() -> None:
    host = fails(lambda argv: argv == delete(POINT), "bitmap not found in backing chain of 'vda'")
    cleanup.delete_checkpoints(host, PLAN, seen(checkpoints=POINT), TOKEN)
    assert host.asked == [delete(POINT), delete(POINT, "--metadata")]


def test_of_a_domain_that_is_off_bitmaps_are_removed_by_qemu() -> None:
    bitmaps = [POINT, FOREIGN]

    def answer(argv: list[str]) -> Result:
        if argv[0] == "qemu-img":
            bitmaps.remove(argv[-1])
        if len(argv) > 5 and argv[5].startswith("--"):
            parts = told(
                state="shut off (shutdown)",
                checkpoints=f"{FOREIGN}\n{POINT}",
                vda=image(10 * GIB, *bitmaps),
            )
            return Result(0, argv[5].join(["", *parts]), "")
        return Result(0, "", "")

    host = FakeHost(answer)
    assert cleanup.clean(host, PLAN, DIRECTORY) == []
    acts = [argv for argv in host.asked if argv[0] != "sh"]
    assert acts == [
        ["rm", "-f", "--", owner_of(TOKEN)],
        servers.command([disk.path for disk in PLAN.disks]),
        ["qemu-img", "bitmap", "--remove", "-f", "qcow2", VDA.path, POINT],
        delete(POINT, "--metadata"),
        ["rm", "-rf", "--", DIRECTORY],
    ]
    assert bitmaps == [FOREIGN]


def test_what_cannot_be_removed_is_told_as_commands() -> None:
    def answer(argv: list[str]) -> Result:
        if len(argv) > 5 and argv[5].startswith("--"):
            return Result(0, argv[5].join(["", *told(vda=image(10 * GIB, POINT))]), "")
        return Result(0, "", "")

    (command,) = cleanup.clean(FakeHost(answer), PLAN, DIRECTORY)
    assert command == f"qemu-img bitmap --remove -f qcow2 '/srv/web root.qcow2' {POINT}"


@pytest.mark.parametrize(
    "changed",
    [
        {"vda": image(11 * GIB, POINT)},
        {"vda": ""},  # it is gone: qemu-img has only complained
        {"xml": XML.replace("/srv/web root", "/srv/moved")},
        {"xml": XML.replace("dev='vdb'", "dev='vdz'")},
    ],
)
def test_what_became_of_the_disks_does_not_keep_traces(changed: dict[str, str]) -> None:
    """The error of a copy of other disks advises to abort the import."""

    def answer(argv: list[str]) -> Result:
        if argv[0] == "sh":
            assert argv[7] == ""  # not strict
            return Result(0, argv[5].join(["", *told(checkpoints=POINT, **changed)]), "")
        return Result(0, "", "")

    host = FakeHost(answer)
    cleanup.clean(host, PLAN, DIRECTORY)
    assert delete(POINT) in host.asked
    assert ["rm", "-rf", "--", DIRECTORY] in host.asked


def test_of_a_domain_that_was_undefined_only_files_are_left() -> None:
    """As after `import finish`: the source is retired, and the import is to be forgotten."""
    host = fails(lambda argv: argv[0] == "sh", f"error: failed to get domain '{UUID}'\n")
    assert cleanup.clean(host, PLAN, DIRECTORY) == []
    assert host.asked[-1] == ["rm", "-rf", "--", DIRECTORY]


def test_a_libvirt_that_does_not_answer_is_no_reason_to_forget() -> None:
    host = fails(lambda argv: argv[0] == "sh", "error: failed to connect to the hypervisor\n")
    with pytest.raises(CommandError):
        cleanup.clean(host, PLAN, DIRECTORY)
    assert ["rm", "-rf", "--", DIRECTORY] not in host.asked


def test_a_script_that_waits_for_a_shutdown_may_go_on() -> None:
    def answer(argv: list[str]) -> Result:
        looks = len(argv) > 5 and argv[5].startswith("--")
        return Result(0, argv[5].join(["", *told()]) if looks else "", "")

    host = FakeHost(answer)
    cleanup.clean(host, PLAN, DIRECTORY, stays_watched=True)
    assert ["rm", "-f", "--", owner_of(TOKEN)] not in host.asked
    assert ["rm", "-rf", "--", DIRECTORY] in host.asked


def test_without_a_directory_nothing_was_made() -> None:
    host = FakeHost(lambda _: Result(0, "", ""))
    assert cleanup.clean(host, PLAN, "") == []
    assert host.asked == []


@pytest.mark.parametrize(
    ("stopped", "state", "expected"),
    [
        (None, "paused (user)", []),
        ("suspended", "running (booted)", []),
        ("suspended", "paused (user)", ["resume", "domfsthaw"]),
        ("suspended", "shut off (destroyed)", ["start"]),
        ("shut down", "shut off (shutdown)", ["start"]),
        ("shut down", "running (booted)", []),
        ("shut down", "paused (user)", []),
    ],
)
def test_the_source_runs_again(
    tmp_path: Path, stopped: str | None, state: str, expected: list[str]
) -> None:
    may_go_off = stopped == "shut down" and not state.startswith("shut off")

    def answer(argv: list[str]) -> Result:
        return Result(0, state if "domstate" in argv else "", "")

    host = FakeHost(answer)

    def known(before: ImportState) -> ImportState:
        before = before.with_step("final copy")
        return replace(before, stopped_by_us=stopped)  # type: ignore[arg-type]

    with journal.begun(PLAN, "text", tmp_path / "imports") as record:
        record.update(known)
        settled = cleanup.run_again(host, PLAN, record)
        assert settled is not may_go_off
        assert record.read().stopped_by_us == (stopped if may_go_off else None)
        is_final = stopped is None or may_go_off  # else it runs, and needs another last pass
        assert record.read().done("final copy") == is_final
    assert [argv[4] for argv in host.asked if "domstate" not in argv] == expected


def test_a_source_that_does_not_start_stays_noted(tmp_path: Path) -> None:
    def answer(argv: list[str]) -> Result:
        if "start" in argv:
            return Result(1, "", "error: no memory")
        return Result(0, "shut off (shutdown)", "")

    with journal.begun(PLAN, "text", tmp_path / "imports") as record:
        record.update(lambda before: replace(before, stopped_by_us="shut down"))
        with pytest.raises(CommandError):
            cleanup.run_again(FakeHost(answer), PLAN, record)
        assert record.read().stopped_by_us == "shut down"


def test_a_source_that_was_migrated_is_not_started_here(tmp_path: Path) -> None:
    host = FakeHost(lambda _: Result(0, "shut off (migrated)", ""))
    with journal.begun(PLAN, "text", tmp_path / "imports") as record:
        record.update(lambda before: replace(before, stopped_by_us="shut down"))
        with pytest.raises(KitError, match="not started here"):
            cleanup.run_again(host, PLAN, record)
    assert not any("start" in argv for argv in host.asked)
