"""What `import inventory` prints, against tests/data/golden/kit."""

import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from importer.domains.inventory import Inventory
from importer.domains.totals import needs
from importer.errors import HostLost
from kit.cli import parser
from kit.import_ import inventory
from node.devices.lvm import VolumeGroup
from node.errors import KitError
from node.run import Result
from node.text import printable
from tests.unit.importer.fake_host import FakeHost, said
from tests.unit.importer.made import GIB, HOST, WEB1, WIN

GOLDEN = Path(__file__).parents[3] / "data/golden/kit"
MIB = 1 << 20
GROUPS = {
    "hddvg": VolumeGroup("hddvg", 64 * MIB, 105 * GIB),
    "xenvg": VolumeGroup("xenvg", 4 * MIB, 200 * GIB),
}
UUIDS = {name: f"0e6a4f5c-1f3f-4a30-8a5f-{number:012}" for number, name in enumerate("abc")}
LIST = "".join(f"{uuid} {name}\n" for name, uuid in UUIDS.items())


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The domains that were asked for; `b` cannot be read."""
    asked: list[str] = []

    @contextmanager
    def connected(_host: str) -> Iterator[FakeHost]:
        yield FakeHost(said(LIST))

    def take(_host: FakeHost, name: str, _facts: object) -> Inventory:
        asked.append(name)
        if name in ("b", UUIDS["b"]):
            raise KitError("source /b: QEMU refuses it", hint="see there")
        if name == "lost":
            raise HostLost("kvm1", "gone")
        return WEB1 if name in ("a", UUIDS["a"]) else WIN

    monkeypatch.setattr(inventory, "connected", connected)
    monkeypatch.setattr(inventory, "take", take)
    monkeypatch.setattr(inventory, "host_facts", lambda _host: HOST)
    monkeypatch.setattr(inventory, "groups", lambda: GROUPS)
    return asked


class Cluster:
    """A cluster whose volume group is xenvg."""

    here = "node1.example.org"

    def run(self, argv: list[str]) -> Result:
        assert argv == ["gnt-cluster", "info"]
        return Result(0, "  lvm volume group: xenvg\n", "")


def options(*words: str) -> Namespace:
    return parser().parse_args(["import", "inventory", "root@kvm1", *words])


def test_the_arguments() -> None:
    given = options("web1", "db 1", "--json")
    assert (given.host, given.domains, given.json) == ("root@kvm1", ["web1", "db 1"], True)
    assert options().domains == []


@pytest.mark.parametrize("how", ["text", "json"])
def test_golden(how: str, taken: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--json"] if how == "json" else []
    assert inventory.run(options("a", "c", "a", *words)) == 0
    assert taken == ["a", "c"]
    printed = capsys.readouterr().out
    assert printed == (GOLDEN / f"inventory-{how}").read_text()
    if how == "json":
        assert json.loads(printed)["volume_groups"][0]["free"] == 105 * GIB


def test_without_names_it_takes_all_in_the_order_of_their_names(
    taken: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KitError) as caught:
        inventory.run(options("--json"))
    assert taken == [*UUIDS.values()]
    assert caught.value.message == "domains of root@kvm1: no inventory of b (1 of 3)"
    assert [record.getMessage() for record in caplog.records] == [
        "domain b: source /b: QEMU refuses it",
        "  hint: see there",
    ]
    found = json.loads(capsys.readouterr().out)
    assert [each["domain"]["name"] for each in found["domains"]] == ["web1", "win"]
    assert found["failures"] == [
        {"domain": "b", "error": "source /b: QEMU refuses it", "hint": "see there"}
    ]


def test_rules_tell_the_group_of_each_disk(
    taken: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inventory.ganeti, "of_this_node", Cluster)
    assert inventory.run(options("a", "c", "--larger", "50G=hddvg")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        "VOLUME GROUP   BY RULES     FREE  MISSING",
        "hddvg         100.1 GiB  105 GiB  -",
        "xenvg            21 GiB  200 GiB  -",
    ]
    rules = ("--vg", "hddvg", "--rule", "*swap.img=xenvg", "--rule", "sda=xenvg")
    assert inventory.run(options("a", "c", "--json", *rules)) == 0
    assert json.loads(capsys.readouterr().out)["volume_groups"] == [
        {"group": "hddvg", "needed": 110 * GIB + 64 * MIB, "free": 105 * GIB},
        {"group": "xenvg", "needed": 11 * GIB, "free": 200 * GIB},
    ]
    assert taken == ["a", "c"] * 2


def test_a_rule_with_a_group_that_this_node_has_not_is_told_first(
    taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory.ganeti, "of_this_node", Cluster)
    with pytest.raises(KitError, match="volume group ssdvg: this node has none"):
        inventory.run(options("a", "--rule", "*=ssdvg"))
    assert taken == []


def test_a_lost_connection_ends_it(taken: list[str]) -> None:
    with pytest.raises(HostLost):
        inventory.run(options("lost", "a"))
    assert taken == ["lost"]


def test_a_node_without_volume_groups() -> None:
    assert inventory.room_table(needs([WEB1], {}), by_rules=False) == [
        "this node has no volume group"
    ]


def test_names_from_the_host_are_made_printable() -> None:
    assert any("\x1b" in line for line in inventory.as_text(WEB1))
    assert "\x1b" not in (GOLDEN / "inventory-text").read_text()
    assert printable("\x1b") == "\\x1b"
