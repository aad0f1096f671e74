"""What `import abort` does, and in which order; what it refuses."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from importer import journal
from importer.adoption import adopted
from importer.adoption.volumes import Removal
from importer.import_state import ImportState, Volume
from importer.plan.file import render
from importer.plan.rules import Draft
from kit.import_ import abort
from node.devices import lvm
from node.devices.lvm import LogicalVolume
from node.errors import CommandError, KitError
from tests.unit.importer.plan.planned import drafted

PLAN = drafted().plan
NAME = PLAN.instance
VOLUME = LogicalVolume("vg_ganeti", "web.example.org-root", "u0", 1, tags=(f"import+{NAME}",))


class World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.done: list[str] = []
        self.kept: tuple[tuple[LogicalVolume, str], ...] = ()
        self.instances: list[str] = []
        self.status = "ADMIN_down"
        self.present = [VOLUME]
        self.settled = True

    @contextmanager
    def connected(self, host: str) -> Iterator[None]:
        self.done.append(f"connect to {host}")
        yield

    def run_again(self, *_: object) -> bool:
        self.done.append("let the source run")
        return self.settled

    def clean(
        self, _host: None, _plan: object, directory: str, *, stays_watched: bool
    ) -> list[str]:
        self.done.append(f"clean {directory}" + (", still watched" if stays_watched else ""))
        return ["rm x"]

    def listed(self, kind: str, fields: tuple[str, ...]) -> list[list[str]]:
        assert (kind, fields) == ("instance", ("name", "status"))
        return [["other", "running"], [NAME, self.status]]

    def remove(self, name: str) -> Removal:
        self.done.append(f"remove volumes of {name}")
        return Removal((VOLUME,), self.kept)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    world = World(tmp_path)
    opened = journal.opened
    monkeypatch.setattr(abort.journal, "opened", lambda name, at=tmp_path: opened(name, at))
    monkeypatch.setattr(abort, "connected", world.connected)
    cleaner = SimpleNamespace(
        run_again=world.run_again,
        clean=world.clean,
    )
    monkeypatch.setattr(abort, "cleanup", cleaner)
    monkeypatch.setattr(abort.volumes, "remove", world.remove)
    monkeypatch.setattr(abort, "tag", lambda *_: world.done.append("tag"))
    monkeypatch.setattr(abort, "settled", lambda *_: world.done.append("await Ganeti"))
    monkeypatch.setattr(abort.ganeti, "of_this_node", lambda: world)
    monkeypatch.setattr(lvm, "volumes", lambda: world.present)
    monkeypatch.setattr(adopted, "exists", lambda _: bool(world.instances))
    with journal.begun(PLAN, render(Draft(PLAN)), tmp_path) as record:
        record.update(
            lambda state: replace(
                state,
                volumes=(Volume("vda", VOLUME.vg, VOLUME.name, VOLUME.uuid),),
                source_directory="/var/lib/libvirt/qemu/kit",
                stopped_by_us="suspended",
            )
        )
    return world


def run(*, without_source: bool = False, dry_run: bool = False) -> None:
    abort.run(argparse.Namespace(instance=NAME, without_source=without_source, dry_run=dry_run))


def test_the_source_runs_before_anything_is_removed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    assert world.done == [
        "connect to kvm1.example.org",
        "let the source run",
        "clean /var/lib/libvirt/qemu/kit",
        f"remove volumes of {NAME}",
    ]
    assert list(journal.imports(world.directory)) == []
    assert capsys.readouterr().out.splitlines() == [
        "to do on kvm1.example.org: rm x",
        "removed vg_ganeti/web.example.org-root",
    ]


def test_a_guest_that_may_still_shut_down_stays_watched(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise nobody starts it then."""
    world.settled = False
    run()
    assert "clean /var/lib/libvirt/qemu/kit, still watched" in world.done
    assert "web was told to shut down, and may still do so" in caplog.text


def test_a_host_that_is_gone_is_left_alone(world: World) -> None:
    run(without_source=True)
    assert world.done == [f"remove volumes of {NAME}"]


def test_a_source_that_is_gone_cannot_run_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "error: failed to get domain 'web'"

    def run_again(*_: object) -> bool:
        raise CommandError(said, exit_code=1, stdout="", stderr=said, hint="see there")

    monkeypatch.setattr(abort.cleanup, "run_again", run_again)
    with pytest.raises(KitError, match=r"libvirt on kvm1\.example\.org does not") as caught:
        run()
    assert caught.value.hint.endswith(f"instance-kit import abort {NAME} --without-source")
    assert list(journal.imports(world.directory)) == [NAME]


def test_what_cannot_be_removed_is_not_forgotten(world: World) -> None:
    world.kept = ((VOLUME, "in use"),)
    with pytest.raises(KitError, match="volumes: not removed: vg_ganeti"):
        run()
    assert list(journal.imports(world.directory)) == [NAME]
    world.instances = [NAME]
    run()
    assert list(journal.imports(world.directory)) == []


def test_ganeti_s_job_is_awaited_if_it_may_run(world: World) -> None:
    with journal.opened(NAME, world.directory) as record:
        record.update(lambda state: replace(state, add_began=True))
    run(without_source=True)
    assert world.done == ["await Ganeti", f"remove volumes of {NAME}"]


def test_volumes_that_ganeti_has_are_tagged_as_its_own(world: World) -> None:
    world.instances = [NAME]
    run(without_source=True)
    assert world.done[0] == "tag"


@pytest.mark.parametrize("status", ["running", "ERROR_up", "ERROR_down", "unknown"])
def test_source_and_instance_do_not_run_both(
    world: World, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.instances, world.status = [NAME], status
    with pytest.raises(KitError, match=f"was suspended for the instance, which is {status}"):
        run()
    assert world.done == ["tag"]
    world.status = "ADMIN_down"
    run()
    assert "let the source run" in world.done
    assert f"the source runs again: do not start the instance {NAME}" in caplog.messages


def test_to_keep_the_instance_is_a_command_to_paste(world: World, tmp_path: Path) -> None:
    world.instances, world.status = [NAME], "running"
    file = tmp_path / "my web.toml"
    file.write_text(render(Draft(PLAN)))
    with journal.opened(NAME, world.directory) as record:
        record.note_plan_file(file)
    with pytest.raises(KitError) as caught:
        run()
    assert caught.value.hint.endswith(f"instance-kit import finish '{file}'")
    file.unlink()
    with pytest.raises(KitError) as caught:
        run()
    assert caught.value.hint.endswith("instance-kit import finish PLAN")


def test_after_its_end_an_import_is_only_forgotten(world: World) -> None:
    world.instances, world.status = [NAME], "running"
    with journal.opened(NAME, world.directory) as record:
        record.completed("finish")
    run()
    assert "let the source run" not in world.done
    assert "clean /var/lib/libvirt/qemu/kit" in world.done
    assert list(journal.imports(world.directory)) == []


def test_a_dry_run_only_says_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run(dry_run=True)
    assert world.done == [] and list(journal.imports(world.directory)) == [NAME]
    assert capsys.readouterr().out.splitlines() == [
        "let web on kvm1.example.org run again: it was suspended",
        "remove checkpoints, bitmaps and /var/lib/libvirt/qemu/kit from kvm1.example.org",
        "remove vg_ganeti/web.example.org-root",
        "forget the import of web.example.org",
    ]


def test_a_dry_run_refuses_what_abort_would(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.instances, world.status = [NAME], "running"
    with pytest.raises(KitError, match="for the instance, which is running: only one of them"):
        run(dry_run=True)
    run(dry_run=True, without_source=True)
    world.status = "ADMIN_down"
    run(dry_run=True)
    assert world.done == [] and caplog.messages == []


def test_adopted_volumes_are_kept() -> None:
    state = ImportState(
        NAME, "kvm1", "web", "u", "", 0.0, volumes=(Volume("vda", "vg", "x.disk0", "u", True),)
    )
    assert abort.intentions(state, without=False)[0] == "keep, for Ganeti has it: vg/x.disk0"


def rename(world: World) -> None:
    """The instance has another name since, and its disks are tagged with it."""
    world.present = [replace(VOLUME, name="uuid.disk0", tags=("originstname+www.example.org",))]
    with journal.opened(NAME) as record:
        made = (Volume("vda", VOLUME.vg, "uuid.disk0", VOLUME.uuid, adopted=True),)
        record.update(lambda state: replace(state.with_step("add"), add_began=True, volumes=made))


def test_the_source_does_not_run_beside_a_renamed_instance(world: World) -> None:
    rename(world)
    with pytest.raises(KitError, match=r"which is unknown: only one of them may run") as caught:
        run()
    assert "gnt-instance shutdown www.example.org" in caught.value.hint
    assert world.done == []


def test_a_complete_import_of_a_renamed_instance_is_forgotten(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    rename(world)
    with journal.opened(NAME) as record:
        record.completed("finish")
    run(dry_run=True)
    said = capsys.readouterr().out
    assert "keep" in said and "run again" not in said
    run()
    assert "let the source run" not in world.done and "await Ganeti" not in world.done
    assert list(journal.imports(world.directory)) == []


def test_a_complete_import_whose_instance_was_removed_is_forgotten(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.present = []
    with journal.opened(NAME) as record:
        record.update(lambda state: state.with_step("add").with_step("finish"))
    run(dry_run=True)
    assert "run again" not in capsys.readouterr().out
    run()
    assert "let the source run" not in world.done
