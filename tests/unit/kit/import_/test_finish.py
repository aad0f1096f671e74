"""What `import finish` says of steps that are left, and of the source."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from importer.host.virsh import DomainState
from importer.import_state import ImportState, Pass
from importer.plan.file import render
from kit.cli import parser
from kit.import_ import finish
from node.errors import KitError
from tests.unit.importer.plan.planned import drafted


def test_steps_that_are_left_are_commands_to_paste(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = drafted().plan
    state = ImportState(plan.instance, plan.host, plan.domain, plan.uuid, "", 0.0)
    monkeypatch.chdir(tmp_path)
    Path("my web.toml").write_text(render(drafted()))
    monkeypatch.setattr(finish.journal, "read", lambda _: state)
    assert finish.run(parser().parse_args(["import", "finish", "my web.toml"])) == 0
    said = capsys.readouterr().out
    assert "- final copy: `instance-kit import copy 'my web.toml' --final`" in said
    assert "- start: `instance-kit import adopt 'my web.toml' --start`" in said


class Asked:
    """A KVM host whose domain is in a state; without one, it does not answer."""

    def __init__(self, state: str) -> None:
        self.domain = state
        self.is_asked = False

    @contextmanager
    def connected(self, _host: str) -> Iterator["Asked"]:
        self.is_asked = True
        if not self.domain:
            raise KitError("no route to host", hint="")
        yield self

    def state(self, _uuid: str) -> DomainState:
        return DomainState(self.domain, "")  # type: ignore[arg-type]

    def checkpoints(self, _uuid: str) -> list[str]:
        return ["of-a-backup", "kit-1"]


@pytest.mark.parametrize(
    ("steps", "state", "said"),
    [
        (("add", "start"), "running", "leave it alone"),  # a trial
        (("final copy",), "shut off", "abort"),
        (("final copy", "add", "start"), "running", "is running. It must never run beside"),
        (("final copy", "add", "start"), "", "its state is not known"),
        (("final copy", "add", "start"), "shut off", "checkpoint-delete --metadata"),
    ],
)
def test_only_a_source_that_is_off_for_the_instance_is_retired(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    steps: tuple[str, ...],
    state: str,
    said: str,
) -> None:
    plan = drafted().plan
    found = ImportState(plan.instance, plan.host, plan.domain, plan.uuid, "", 0.0)
    found = replace(
        found,
        steps=dict.fromkeys(steps, 1.0),
        passes=(Pass(1, False, "kit-1", 1.0, complete=True),),
    )
    host = Asked(state)
    monkeypatch.setattr(finish.journal, "read", lambda _: found)
    monkeypatch.setattr(finish, "connected", host.connected)
    monkeypatch.setattr(finish, "Virsh", lambda _: host)
    monkeypatch.setattr(finish.records, "completed", lambda *_: None)
    file = tmp_path / "web.toml"
    file.write_text(render(drafted()))
    assert finish.run(parser().parse_args(["import", "finish", str(file)])) == 0
    source = capsys.readouterr().out.partition("## The source")[2]
    assert said in source
    assert ("virsh" in source) == (state == "shut off" and "start" in steps)
    assert host.is_asked == ("final copy" in steps and "start" in steps)
    assert "of-a-backup" not in source
