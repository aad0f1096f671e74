"""The journal of an import, on a temporary directory."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from importer import journal
from importer.journal import ImportState, NicAddresses, Pass, Volume
from importer.plan.file import render
from importer.plan.model import ImportPlan
from importer.plan.rules import Draft
from node import files
from node.errors import KitError
from node.lockfile import locked
from tests.unit.importer.plan.planned import drafted

PLAN = ImportPlan(
    host="kvm1.example.org",
    domain="web",
    uuid="6f2a5f4e-6f26-4c1a-bd53-3a7a3a0e9a10",
    instance="web.example.org",
    node="node1.example.org",
    os="debootstrap+default",
    vcpus=2,
    memory=2 << 30,
    disks=(),
    nics=(),
)


@pytest.fixture
def imports(tmp_path: Path) -> Path:
    return tmp_path / "lib/imports"


def test_a_state_is_read_as_it_was_written(imports: Path) -> None:
    full = {
        "steps": {"volumes": 1.5},
        "volumes": (Volume("vda", "xenvg", "web-root", "uuid", adopted=True),),
        "passes": (Pass(1, False, "kit-1", 2.0, True, 5 << 30, 60.0), Pass(2, True, "", 3.0)),
        "source_directory": "/var/lib/libvirt/qemu/kit",
        "source_before": "running",
        "stopped_by_us": "suspended",
        "addresses": (NicAddresses(0, ("192.0.2.1",), ("198.51.100.7", "2001:db8::7")),),
    }
    with journal.begun(PLAN, "text", imports) as opened:
        written = opened.update(lambda state: replace(state, **full))  # type: ignore[arg-type]
        assert opened.read() == written
    assert journal.read("web.example.org", imports) == written
    assert written.volume("vda") == full["volumes"][0]  # type: ignore[index]
    assert written.volume("vdb") is None


def test_only_root_can_read_it(imports: Path) -> None:
    with journal.begun(PLAN, "text", imports) as opened:
        modes = [
            stat.S_IMODE(path.stat().st_mode)
            for path in (imports, opened.directory, opened.directory / "state.json")
        ]
    assert modes == [0o700, 0o700, 0o600]


def test_it_is_written_durably(imports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []

    def watched(path: Path, content: bytes, *, mode: int, durable: bool) -> None:
        calls.append(durable)
        files.write_whole(path, content, mode=mode, durable=durable)

    monkeypatch.setattr("importer.journal.write_whole", watched)
    with journal.begun(PLAN, "text", imports) as opened:
        opened.completed("volumes")
    assert calls == [True, True]


def test_steps_are_done_and_undone(imports: Path) -> None:
    with journal.begun(PLAN, "text", imports) as opened:
        assert not opened.read().done("copy")
        opened.completed("volumes")
        opened.completed("copy")
        assert opened.read().done("copy")
        opened.update(lambda state: state.without_step("copy", "add"))
        assert list(opened.read().steps) == ["volumes"]


def test_the_plan_s_file_is_noted_as_it_was_named(
    imports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links may lead elsewhere later; a name that is not UTF-8 is read as it was written."""
    monkeypatch.chdir(tmp_path)
    Path("plans").symlink_to(tmp_path / "2026")
    with journal.begun(PLAN, "text", imports) as opened:
        assert opened.read().plan_file == ""
        opened.note_plan_file(Path("plans/w\udcffb.toml"))
        assert opened.read().plan_file == f"{tmp_path}/plans/w\udcffb.toml"


def test_a_second_command_is_refused(imports: Path) -> None:
    with (
        journal.begun(PLAN, "text", imports),
        pytest.raises(KitError, match="another command works on it"),
        journal.opened(PLAN.instance, imports),
    ):
        pass
    assert not journal.in_use(PLAN.instance, imports)
    assert list(imports.glob(".*")) == []


def test_one_that_is_removed_meanwhile_is_missed(imports: Path) -> None:
    with journal.begun(PLAN, "text", imports) as opened:
        (opened.directory / "pairs").write_text("")
        opened.remove()
    assert list(imports.iterdir()) == []
    with (
        pytest.raises(KitError, match="none of that name"),
        journal.opened(PLAN.instance, imports),
    ):
        pass


def test_nothing_is_made_by_looking(imports: Path) -> None:
    with pytest.raises(KitError, match="none of that name"), journal.opened("a", imports):
        pass
    with pytest.raises(KitError, match="none of that name"):
        journal.read("a", imports)
    assert not imports.exists()


def test_all_imports_are_listed_but_no_remains(imports: Path) -> None:
    for name in ("b", "a"):
        with journal.begun(replace(PLAN, instance=name), "text", imports):
            pass
    (imports / "c").mkdir()
    with locked(imports / ".d.lock", ""):
        assert list(journal.imports(imports)) == ["a", "b"]


def test_errors_of_the_block_are_those_of_the_block(imports: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="mine"),
        journal.begun(PLAN, "text", imports),
    ):
        raise FileNotFoundError("mine")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda value: value | {"version": 2}, "version 2, not 1"),
        (lambda value: value | {"odd": 1}, "odd: unknown"),
        (lambda value: value | {"began": "today"}, "began: not a number"),
        (lambda value: value | {"stopped_by_us": "killed"}, "stopped_by_us: 'killed' is none of"),
        (lambda value: value | {"volumes": [{"target": "vda"}]}, r"volumes\[0\].vg: missing"),
        (lambda value: value | {"volumes": {}}, "volumes: not a list"),
        (lambda value: [value], "the whole: not a table"),
    ],
)
def test_a_damaged_state_is_named(imports: Path, damage: object, why: str) -> None:
    assert callable(damage)
    with journal.begun(PLAN, "text", imports) as opened:
        path = opened.directory / "state.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(KitError, match=why):
        journal.read(PLAN.instance, imports)


def test_a_state_that_is_no_json_is_named(imports: Path) -> None:
    with journal.begun(PLAN, "text", imports) as opened:
        (opened.directory / "state.json").write_text('{"')
        with pytest.raises(KitError, match="unreadable"):
            opened.read()


def test_a_new_state_has_nothing_done() -> None:
    state = ImportState("a", "b", "c", "d", "e", 0.0)
    assert (state.steps, state.volumes, state.passes) == ({}, (), ())


def test_what_was_not_used_yet_may_change_in_the_plan(imports: Path) -> None:
    plan = drafted().plan
    with journal.begun(plan, render(Draft(plan)), imports):
        pass
    other = replace(plan, memory=4 << 30, nics=())
    with journal.resumed(other, render(Draft(other)), imports) as opened:
        assert journal.recorded_plan(opened.read()) == other
        opened.completed("add")
    with (
        pytest.raises(KitError, match=r"memory, nics of its plan changed"),
        journal.begun(plan, render(Draft(plan)), imports),
    ):
        pass


def test_what_was_used_must_not_change_in_the_plan(imports: Path) -> None:
    plan = drafted().plan
    with journal.begun(plan, render(Draft(plan)), imports):
        pass
    for change in ({"host": "kvm2"}, {"uuid": PLAN.uuid[::-1]}, {"disks": plan.disks[:1]}):
        other = replace(plan, **change)  # type: ignore[arg-type]
        with (
            pytest.raises(KitError, match=f"{next(iter(change))} of its plan changed"),
            journal.begun(other, "other", imports),
        ):
            pass


def test_only_an_import_that_has_begun_is_resumed(imports: Path) -> None:
    with pytest.raises(KitError, match="none of that name"), journal.resumed(PLAN, "", imports):
        pass


@pytest.mark.parametrize("name", ["", ".", "..", "../imports/web.example.org", "a/b", "/", "a\0b"])
def test_a_path_is_no_name_of_an_import(imports: Path, name: str) -> None:
    with journal.begun(PLAN, "text", imports):
        pass
    for call in (journal.read, lambda *given: journal.opened(*given).__enter__()):
        with pytest.raises(KitError, match="there is none of that name on this node"):
            call(name, imports)
