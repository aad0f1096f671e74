"""Adoption: what forbids it, its steps, and what a killed run has left."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from importer import journal
from importer.adoption import adopt, adopted
from importer.adoption.adopt import Wanted, problems
from importer.adoption.adopted import are_renamed, as_found, disk_number, located, without_bitmaps
from importer.errors import MasterLost
from importer.import_state import ImportState, Pass, Step, Volume
from importer.journal import Journal
from importer.plan.file import render
from importer.plan.model import Variables
from importer.plan.rules import Draft
from node.devices import lvm
from node.devices.lvm import LogicalVolume
from node.errors import KitError
from node.run import Result
from tests.unit.importer.plan.planned import drafted

PLAN = drafted().plan
NAME = PLAN.instance
DISK_UUID = "a92d4053-845d-4adb-8bd7-4c2ae7507bc1"

OTHER = "node2.example.org"
VERBS = {
    "INSTANCE_CREATE": "add",
    "INSTANCE_SET_PARAMS": "modify",
    "INSTANCE_FAILOVER": "failover",
}


class Node:
    """LVM and Ganeti, as far as an adoption uses them."""

    def __init__(self) -> None:
        self.here = self.master = "node1.example.org"
        self.volumes = {
            f"uuid-{number}": LogicalVolume(
                disk.vg,
                disk.lv,
                f"uuid-{number}",
                disk.volume_size,
                tags=(f"import+{NAME}",),
                attr="-wi-a-----",
            )
            for number, disk in enumerate(PLAN.disks)
        }
        self.instances: list[str] = []
        self.master_instances: list[str] = []
        self.ran: list[Sequence[str]] = []
        self.jobs: list[list[str]] = []
        self.template = "plain"
        self.primary = PLAN.node
        self.fails_after_renaming = False
        self.refuses = ""

    def run(self, argv: Sequence[str], **_: object) -> Result:
        self.ran.append(argv)
        if "--dry-run" in argv:
            if self.refuses:
                raise KitError(f"gnt-instance add: {self.refuses}", hint="")
        elif argv[1] == "add":
            for number, uuid in enumerate(sorted(self.volumes)):
                self._rename(uuid, f"{DISK_UUID}.disk{number}")
            if self.fails_after_renaming:
                raise KitError("gnt-instance add: failed", hint="")
            self.instances.append(NAME)
        if argv[:2] == ["gnt-instance", "modify"]:
            self.template = "drbd"
            for number, uuid in enumerate(sorted(self.volumes)):
                self._rename(uuid, f"{DISK_UUID}.disk{number}_data")
        if argv[:2] == ["gnt-instance", "failover"]:
            self.primary = OTHER if self.primary == PLAN.node else PLAN.node
        if argv[:2] == ["gnt-job", "wait"]:
            (summary,) = [summary for number, _, summary in self.jobs if number == argv[2]]
            self.jobs.clear()
            self.run(["gnt-instance", VERBS[summary.partition("(")[0]]])
        return Result(0, "", "")

    def listed(self, kind: str, fields: Sequence[str]) -> list[list[str]]:
        if kind == "job":
            return self.jobs
        if fields == ("name",):
            return [[name] for name in self.master_instances or self.instances]
        values = {
            "name": NAME,
            "disk_template": self.template,
            "snodes": OTHER,
            "pnode": self.primary,
        }
        return [[values[field] for field in fields]]

    def _rename(self, uuid: str, name: str) -> None:
        self.volumes[uuid] = replace(self.volumes[uuid], name=name)

    def rename(self, volume: LogicalVolume, name: str) -> None:
        self._rename(volume.uuid, name)

    def retag(self, volume: LogicalVolume, *, add: list[str], remove: list[str]) -> None:
        tags = tuple(tag for tag in (*volume.tags, *add) if tag not in remove)
        self.volumes[volume.uuid] = replace(volume, tags=tags)

    @property
    def verbs(self) -> list[str]:
        return [argv[1] for argv in self.ran]


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node()
    monkeypatch.setattr(lvm, "volumes", lambda: list(node.volumes.values()))
    monkeypatch.setattr(lvm, "rename", node.rename)
    monkeypatch.setattr(lvm, "retag", node.retag)
    monkeypatch.setattr(adopted.cluster, "ssconf", lambda _: node.instances)
    return node


def state_of(node: Node, **changes: object) -> ImportState:
    volumes = tuple(
        Volume(disk.target, volume.vg, volume.name, volume.uuid)
        for disk, volume in zip(PLAN.disks, node.volumes.values(), strict=True)
    )
    made = ImportState(
        NAME, PLAN.host, PLAN.domain, PLAN.uuid, render(Draft(PLAN)), 1.0, {"copy": 2.0}, volumes
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def record(node: Node, tmp_path: Path) -> Journal:
    with journal.begun(PLAN, render(Draft(PLAN)), tmp_path) as opened:
        opened.update(lambda _: state_of(node))
        return opened


def run(node: Node, record: Journal, wanted: Wanted = Wanted(trial=True)) -> None:  # noqa: B008
    adopt.adopt(PLAN, record, node, wanted, None)  # type: ignore[arg-type]


def test_the_master_is_asked_before_volumes_get_their_names_back(
    node: Node, record: Journal
) -> None:
    """The list of this node may be old: then they are the disks of an instance."""
    node.run(["gnt-instance", "add"])
    node.instances.clear()
    node.master_instances = [NAME]
    with pytest.raises(KitError, match="the master has it, but not the list of this node"):
        adopt.settled(PLAN, record.read(), node)  # type: ignore[arg-type]
    assert not any(volume.name == PLAN.disks[0].lv for volume in node.volumes.values())


def test_volumes_that_another_instance_of_the_name_does_not_have_stay_ours(
    node: Node, record: Journal
) -> None:
    """Else an import that is aborted would leave them, as those of an instance."""
    node.instances.append(NAME)
    adopt.tag(PLAN, record)
    assert {volume.tags for volume in node.volumes.values()} == {(f"import+{NAME}",)}


def test_the_instance_gets_the_volumes_and_their_tags(node: Node, record: Journal) -> None:
    run(node, record)
    assert node.ran == [adopt.command.add(PLAN)]
    state = record.read()
    assert state.done("add") and state.done("tag")
    assert [(each.lv, each.adopted) for each in state.volumes] == [
        (f"{DISK_UUID}.disk{number}", True) for number in range(3)
    ]
    assert {each.tags for each in node.volumes.values()} == {(f"originstname+{NAME}",)}


def test_it_is_noted_before_ganeti_is_asked(node: Node, record: Journal) -> None:
    node.fails_after_renaming = True
    with pytest.raises(KitError, match="gnt-instance add: failed"):
        run(node, record)
    assert record.read().add_began and not record.read().done("add")


def test_a_second_run_does_nothing_again(node: Node, record: Journal) -> None:
    run(node, record)
    run(node, record)
    assert node.verbs == ["add"]


def test_a_run_that_was_killed_after_the_job_goes_on(node: Node, record: Journal) -> None:
    node.run(adopt.command.add(PLAN))
    run(node, record)
    assert node.verbs == ["add"]
    assert record.read().done("tag")


def test_a_lost_master_is_no_reason_to_add_the_instance_by_hand(
    node: Node, record: Journal
) -> None:
    real = node.run

    def lost(argv: Sequence[str], **_: object) -> Result:
        raise MasterLost("gnt-instance add: closed", hint=f"then this again: {argv}")

    node.run = lost  # type: ignore[method-assign,assignment]
    with pytest.raises(KitError, match="gnt-instance add: closed") as caught:
        run(node, record)
    assert caught.value.hint == (
        "run this again: if Ganeti has begun the job, it waits for its end"
    )
    node.run = real  # type: ignore[method-assign]
    node.jobs = [["7", "running", f"INSTANCE_CREATE({NAME})"]]
    run(node, record)
    assert node.verbs == ["wait", "add"] and record.read().done("add")


def test_a_job_of_a_killed_run_is_awaited(node: Node, record: Journal) -> None:
    node.jobs = [
        ["6", "error", f"INSTANCE_CREATE({NAME})"],
        ["7", "running", f"INSTANCE_CREATE({NAME})"],
        ["8", "running", "INSTANCE_CREATE(other)"],
    ]
    run(node, record)
    assert node.ran[0] == ["gnt-job", "wait", "7"]
    assert node.verbs == ["wait", "add"] and node.instances == [NAME]


def test_names_of_a_failed_job_are_restored(node: Node, record: Journal) -> None:
    node.fails_after_renaming = True
    with pytest.raises(KitError, match="gnt-instance add: failed"):
        run(node, record)
    assert not record.read().done("add")
    node.fails_after_renaming = False
    seen: list[list[str]] = []
    real = node.run

    def add(argv: Sequence[str], **options: object) -> Result:
        seen.append([each.name for each in node.volumes.values()])
        return real(argv, **options)  # type: ignore[arg-type]

    node.run = add  # type: ignore[method-assign]
    run(node, record)
    assert seen == [[disk.lv for disk in PLAN.disks]]
    assert record.read().done("add")


def rehearse(node: Node, record: Journal) -> None:
    adopt.rehearse(PLAN, record, node, None)  # type: ignore[arg-type]


def test_a_rehearsal_asks_ganeti_for_all_and_makes_nothing(node: Node, record: Journal) -> None:
    before, state = dict(node.volumes), record.read()
    rehearse(node, record)
    assert node.ran == [adopt.command.rehearse(PLAN)]
    assert (node.volumes, node.instances, record.read()) == (before, [], state)


def test_a_rehearsal_tells_what_would_make_the_adoption_fail(
    node: Node, record: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopt, "SETTLE_SECONDS", 0.0)
    node.refuses = "violates policy: 1 vCPU"
    with pytest.raises(KitError, match=r"would not make web\.example\.org: .* policy: 1 vCPU"):
        rehearse(node, record)
    node.instances.append(NAME)
    with pytest.raises(KitError, match="does not have the volumes of this import"):
        rehearse(node, record)
    node.instances.clear()
    uuid, volume = next(iter(node.volumes.items()))
    node.volumes[uuid] = replace(volume, attr="-wi-ao----")
    with pytest.raises(KitError, match="something has it open"):
        rehearse(node, record)
    assert node.ran == [adopt.command.rehearse(PLAN)]


@pytest.mark.parametrize("act", [rehearse, run])
def test_who_has_volumes_open_for_a_moment_does_not_matter(
    node: Node, record: Journal, monkeypatch: pytest.MonkeyPatch, act: Callable[..., None]
) -> None:
    """udev looks at each volume when the last pass has closed it; the source is off by then."""
    closed = list(node.volumes.values())
    opened = [replace(each, attr="-wi-ao----") for each in closed]
    looks = iter([closed, opened, opened])  # the first one for the names in the journal
    monkeypatch.setattr(lvm, "volumes", lambda: next(looks, list(node.volumes.values())))
    act(node, record)
    assert "add" in node.verbs


def test_a_rehearsal_reads_the_variables_of_the_firmware(
    node: Node, record: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> bytes:
        raise KitError("UEFI variables /nvram/web.fd: no variables of OVMF", hint="")

    monkeypatch.setattr(adopt.nvram, "read", unreadable)
    plan = replace(PLAN, variables=Variables("/nvram/web.fd", "/var/lib/web.fd"))
    with pytest.raises(KitError, match="no variables of OVMF"):
        adopt.rehearse(plan, record, node, None)  # type: ignore[arg-type]
    assert node.ran == []


def test_what_is_adopted_needs_no_rehearsal(node: Node, record: Journal) -> None:
    node.run(adopt.command.add(PLAN))  # by a run that was killed after that
    rehearse(node, record)
    run(node, record)
    rehearse(node, record)
    assert node.verbs == ["add"]


def test_a_rehearsal_undoes_what_a_failed_job_has_renamed(node: Node, record: Journal) -> None:
    node.fails_after_renaming = True
    with pytest.raises(KitError, match="failed"):
        run(node, record)
    rehearse(node, record)
    assert [each.name for each in node.volumes.values()] == [disk.lv for disk in PLAN.disks]


def test_an_instance_of_that_name_with_other_disks_is_not_ours(node: Node, record: Journal) -> None:
    node.instances.append(NAME)
    with pytest.raises(KitError, match="does not have the volumes of this import"):
        run(node, record)


def test_disks_are_mirrored_and_the_instance_fails_over_and_starts(
    node: Node, record: Journal
) -> None:
    record.update(lambda state: state.with_step("final copy"))
    wanted = Wanted(convert=True, secondary="node2.example.org", fail_over=True, start=True)
    run(node, record, wanted)
    assert node.ran == list(adopt.commands(PLAN, wanted))
    assert node.verbs == ["add", "modify", "failover", "startup"]
    assert record.read().volumes[2].lv == f"{DISK_UUID}.disk2_data"
    run(node, record, wanted)
    assert node.verbs == ["add", "modify", "failover", "startup", "startup"]


@pytest.mark.parametrize(
    ("job", "verbs"),
    [
        ("INSTANCE_SET_PARAMS", ["wait", "modify", "failover"]),
        ("INSTANCE_FAILOVER", ["wait", "failover"]),
    ],
)
def test_what_ganeti_has_done_since_a_killed_run_is_not_done_again(
    node: Node, record: Journal, job: str, verbs: list[str]
) -> None:
    """A second failover would be the way back."""
    record.update(lambda state: state.with_step("final copy"))
    run(node, record, Wanted())
    if job == "INSTANCE_FAILOVER":
        run(node, record, Wanted(convert=True))
    node.ran.clear()
    node.jobs = [["7", "running", f"{job}({NAME})"]]
    run(node, record, Wanted(convert=True, fail_over=True))
    assert node.verbs == verbs and node.primary == OTHER


def test_an_instance_that_was_failed_over_stays_there(node: Node, record: Journal) -> None:
    record.update(lambda state: state.with_step("final copy"))
    run(node, record, Wanted(convert=True))
    node.run(["gnt-instance", "failover"])
    run(node, record, Wanted(fail_over=True))
    assert node.primary == OTHER and record.read().done("fail over")


def test_an_instance_that_the_master_does_not_have_is_an_error(node: Node, record: Journal) -> None:
    record.update(lambda state: state.with_step("final copy"))
    run(node, record, Wanted())
    node.listed = lambda *_: []  # type: ignore[method-assign]
    with pytest.raises(KitError, match="Ganeti has none of that name"):
        run(node, record, Wanted(convert=True))


def test_an_instance_that_was_removed_took_the_copies_with_it(node: Node, record: Journal) -> None:
    run(node, record)
    node.volumes.clear()
    node.instances.clear()
    with pytest.raises(KitError, match="no volume for disk vda, vdb, vdc"):
        run(node, record)
    state = record.read()
    assert (state.steps, state.volumes, state.passes) == ({}, (), ())


def reasons(node: Node, source: str, wanted: Wanted, **changes: object) -> str:
    state = state_of(node, **changes)
    found = located(state.volumes, list(node.volumes.values()))
    return "; ".join(what for what, _ in problems(PLAN, state, found, source, wanted))


def test_a_source_that_runs_is_only_for_a_trial(node: Node) -> None:
    final = {"copy": 1.0, "final copy": 2.0}
    assert "the source is running" in reasons(node, "running", Wanted(), steps=final)
    assert reasons(node, "running", Wanted(trial=True)) == ""
    assert "has changed since the last copy" in reasons(node, "shut off", Wanted())
    assert reasons(node, "shut off", Wanted(), steps=final) == ""
    assert reasons(node, "paused", Wanted(), steps=final) == ""


def test_a_trial_is_not_mirrored(node: Node) -> None:
    for wanted in (Wanted(trial=True, convert=True), Wanted(trial=True, fail_over=True)):
        assert "DRBD would mirror them" in reasons(node, "running", wanted)


def test_only_a_mirrored_instance_fails_over(node: Node) -> None:
    final = {"copy": 1.0, "final copy": 2.0}
    wanted = Wanted(fail_over=True)
    assert "not mirrored" in reasons(node, "shut off", wanted, steps=final)
    assert reasons(node, "shut off", wanted, steps={**final, "convert": 3.0}) == ""


def test_a_trial_does_not_keep_macs(node: Node, record: Journal) -> None:
    nics = tuple(replace(nic, mac=nic.old_mac) for nic in PLAN.nics)
    plan = replace(PLAN, nics=nics)
    found = located(record.read().volumes, list(node.volumes.values()))
    (problem,) = problems(plan, record.read(), found, "running", Wanted(trial=True))
    assert "keeps MAC addresses" in problem[0]


def test_volumes_must_be_copied_and_closed(node: Node) -> None:
    assert "no copy is complete" in reasons(node, "running", Wanted(trial=True), steps={})
    uuid, volume = next(iter(node.volumes.items()))
    node.volumes[uuid] = replace(volume, attr="-wi-ao----")
    assert "something has it open" in reasons(node, "running", Wanted(trial=True))
    del node.volumes[uuid]
    state = state_of(Node())
    found = located(state.volumes, list(node.volumes.values()))
    texts = [what for what, _ in problems(PLAN, state, found, "", Wanted(trial=True))]
    assert texts == ["no volume for disk vda"]


def test_remedies_are_commands_to_paste(node: Node) -> None:
    state, wanted = state_of(node), Wanted(plan="'my web.toml'")
    found = located(state.volumes, list(node.volumes.values()))
    new = replace(state, steps={})
    told = [problems(PLAN, *each, "shut off", wanted) for each in ((state, {}), (new, found))]
    copy = "instance-kit import copy 'my web.toml'"
    assert [remedy for each in told for _, remedy in each] == [copy, copy]
    ((_, remedy),) = problems(PLAN, state, found, "shut off", wanted)
    assert remedy.endswith(f"; or: {copy} --final")


ABORT = f"begin again: instance-kit import abort {NAME}"


@pytest.mark.parametrize(
    ("gone", "steps", "expected"),
    [
        ("vdb", ("volumes", "copy"), "instance-kit import copy PLAN --again"),
        ("vdb", ("volumes",), "instance-kit import copy PLAN"),
        ("vdb", ("volumes", "copy", "add"), f"{ABORT}, then gnt-instance remove {NAME}"),
        ("vda", ("volumes", "copy"), ABORT),
    ],
)
def test_the_remedy_for_a_missing_volume_helps(
    node: Node, gone: str, steps: tuple[Step, ...], expected: str
) -> None:
    """A copy makes a swap area anew, and none of the others: vdb is swap here."""
    state = state_of(node, steps=dict.fromkeys(steps, 1.0))
    found = located(state.volumes, list(node.volumes.values()))
    del found[gone]
    told = dict(problems(PLAN, state, found, "shut off", Wanted(trial=True)))
    assert told == {f"no volume for disk {gone}": expected}


def test_the_way_out_of_a_trial_is_a_command_to_paste(
    node: Node, record: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    run(node, record, Wanted(trial=True, plan="'my web.toml'"))
    assert f"gnt-instance shutdown {NAME}, then instance-kit import copy 'my web.toml'" in (
        caplog.text
    )


def test_the_source_is_asked_until_the_instance_exists(node: Node) -> None:
    state = state_of(node)
    assert adopt.asks_source(state, Wanted())
    done = state.with_step("add")
    assert not adopt.asks_source(done, Wanted(convert=True))
    assert adopt.asks_source(done, Wanted(start=True))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (f"{DISK_UUID}.disk0", 0),
        (f"{DISK_UUID}.disk12_data", 12),
        (f"{DISK_UUID}.disk0_meta", None),
        ("web.example.org-root", None),
        (f"x{DISK_UUID}.disk0", None),
    ],
)
def test_ganeti_s_names_of_volumes(name: str, number: int | None) -> None:
    assert disk_number(name) == number


def test_disks_in_another_order_are_not_ours(node: Node) -> None:
    node.run(adopt.command.add(PLAN))
    found = located(state_of(node).volumes, list(node.volumes.values()))
    assert are_renamed(PLAN, found)
    assert not are_renamed(replace(PLAN, disks=PLAN.disks[::-1]), found)


def test_an_import_that_is_complete_stays_it_when_its_instance_is_removed(node: Node) -> None:
    """Else `abort`, which forgets it years later, would let the source run again."""
    state = state_of(node, steps={"add": 1.0, "start": 2.0, "finish": 3.0})
    assert set(as_found(state, {}, exists=False).steps) == {"finish"}


def test_an_instance_that_was_renamed_is_still_there(node: Node, record: Journal) -> None:
    """Else another copy would overwrite its disks while it is off."""
    run(node, record, Wanted(trial=True, start=True))
    volumes = [
        replace(each, tags=("originstname+www.example.org",)) for each in node.volumes.values()
    ]
    state = record.read()
    assert as_found(state, located(state.volumes, volumes), exists=False) == state


def test_some_volumes_that_are_gone_are_left_out(node: Node) -> None:
    state = state_of(node, passes=(Pass(1, False, "", 0.0),))
    found = located(state.volumes, list(node.volumes.values())[1:])
    now = as_found(state, found, exists=False)
    assert [each.target for each in now.volumes] == ["vdb", "vdc"]
    assert now.steps == state.steps and now.passes == state.passes


def test_volumes_that_were_made_anew_are_adopted_anew(node: Node, record: Journal) -> None:
    run(node, record)
    node.volumes = Node().volumes
    node.instances.clear()
    record.update(lambda state: state_of(node, steps=state.steps))
    run(node, record)
    assert node.verbs == ["add", "add"]
    assert {each.tags for each in node.volumes.values()} == {(f"originstname+{NAME}",)}


def test_volumes_of_a_renamed_instance_are_left_alone(node: Node, record: Journal) -> None:
    run(node, record)
    names = [each.name for each in node.volumes.values()]
    node.instances = ["www.example.org"]
    with pytest.raises(KitError, match="its tags say that an instance has it"):
        run(node, record)
    assert [each.name for each in node.volumes.values()] == names


def test_after_a_trial_no_bitmap_tells_what_to_copy(node: Node) -> None:
    whole, cut = Pass(1, False, "kit-1", 0.0, complete=True), Pass(2, False, "kit-2", 1.0)
    state = state_of(node, passes=(whole, cut))
    assert without_bitmaps(state) == state
    volumes = tuple(replace(each, adopted=True) for each in state.volumes)
    now = without_bitmaps(replace(state, volumes=volumes))
    assert now.passes == (replace(whole, checkpoint=""),)
