"""The options of `import plan`."""

import argparse
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from importer.domains.domain import Obstacle
from importer.domains.inventory import Inventory
from importer.import_state import Volume
from importer.journal import begun, imports
from importer.plan.file import parse
from kit import PROBLEM
from kit.import_ import plan
from node.errors import KitError
from node.finding import PROBLEM as SERIOUS
from tests.unit.importer.plan.planned import GROUPS, INVENTORY, QEMU, drafted, of_domain
from tests.unit.importer.plan.test_preflight import FACTS


def test_what_an_earlier_run_has_made_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = drafted().plan
    read = plan.journal.read
    monkeypatch.setattr(plan.journal, "imports", lambda: imports(tmp_path))
    monkeypatch.setattr(plan.journal, "read", lambda name: read(name, tmp_path))
    monkeypatch.setattr(plan.adopted, "refreshed", lambda state: state)
    assert plan.ours(made) == set()
    volumes = (Volume("vda", "vg_ganeti", "uuid.disk0", "u0", adopted=True),)
    with begun(made, "text", tmp_path) as record:
        record.update(lambda state: replace(state, volumes=volumes))
        assert plan.ours(made) == {"vg_ganeti/web.example.org-root"}
        record.completed("add")
    assert plan.ours(made) == {"vg_ganeti/web.example.org-root", "web.example.org"}


def test_a_plan_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "web.toml"
    plan._write(path, "new", force=False)
    with pytest.raises(KitError, match="may have been edited"):
        plan._write(path, "newer", force=False)
    plan._write(path, "newer", force=True)
    assert path.read_text() == "newer"
    with pytest.raises(KitError, match="No such file"):
        plan._write(tmp_path / "none/web.toml", "x", force=False)


class Cluster:
    """A Ganeti that tells what the tests of the preflight know."""

    here = "node1.example.org"


def written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    inventory: Inventory,
    *words: str,
) -> tuple[int, str]:
    """What `import plan` of a domain prints, with its exit code."""
    monkeypatch.setattr(plan.ganeti, "of_this_node", Cluster)
    monkeypatch.setattr(plan, "connected", lambda _: nullcontext())
    monkeypatch.setattr(plan, "take", lambda *_: inventory)
    monkeypatch.setattr(plan.gather, "volume_groups", lambda: GROUPS)
    monkeypatch.setattr(plan.gather, "qemu", lambda: QEMU)
    monkeypatch.setattr(plan.gather, "facts", lambda *_: FACTS)
    monkeypatch.setattr(plan, "ours", lambda _: set())
    parser = argparse.ArgumentParser()
    plan.arguments(parser)
    code = plan.run(parser.parse_args(["kvm1", "web", "--vg=vg_ganeti", *words]))
    return code, capsys.readouterr().out


def test_a_plan_that_cannot_be_written_hides_no_findings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    obstacle = Obstacle("disk vda: its source is of type network (rbd)", "virsh blockcopy")
    ceph = of_domain(name="My web", disks=(), obstacles=(obstacle,))
    file = tmp_path / "web.toml"
    code, said = written(
        monkeypatch, capsys, ceph, f"--output={file}", "--network=gnt-fsn", "--ip=198.51.100.7/24"
    )
    assert (code, file.exists()) == (PROBLEM, False)
    for part in (
        "no plan of My web is written: instance: not a name of an instance, in lower case",
        "--instance NAME",
        "no plan of My web is written: disks: not 1 to 16",
        "no plan of My web is written: nics[0].ip: neither pool nor an address",
        "--network, --link or --ip",
        "domain My web: disk vda: its source is of type network (rbd)",
    ):
        assert part in said


def test_a_valid_plan_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "web.toml"
    code, said = written(
        monkeypatch,
        capsys,
        INVENTORY,
        f"--output={file}",
        "--network=gnt-fsn",
        "--os=debian",
        "--json",
    )
    assert code == PROBLEM and parse(file.read_text()).os == "debian"
    assert [each["about"] for each in json.loads(said)["findings"] if each["level"] == SERIOUS] == [
        "OS debian"
    ]


def test_options_for_more_nics_than_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--network=gnt-fsn", "--network=gnt-fsn", "--dry-run")
    code, said = written(monkeypatch, capsys, INVENTORY, *words)
    assert code == PROBLEM
    assert "--network: given 2 times, and the domain has 1 NICs" in said
