"""What the journal keeps of a guest, and what it knows of its NICs."""

from pathlib import Path

import pytest

from importer import journal
from importer.plan.file import parse, render
from kit.import_ import records
from tests.unit.importer.plan.planned import drafted
from tests.unit.importer.renumber.guests import FIRST, files, instance
from tests.unit.importer.renumber.test_survey import changed, proposal

NAME = "web.example.org"


@pytest.fixture
def imports(tmp_path: Path) -> Path:
    """The directory of one import that has begun."""
    text = render(drafted())
    with journal.begun(parse(text), text, tmp_path):
        pass
    return tmp_path


def test_old_mac_addresses_are_those_of_the_plan(imports: Path) -> None:
    assert records.old_macs(NAME, imports) == {0: "52:54:00:6b:3c:58"}
    assert records.old_macs("other.example.org", imports) == {}


def test_the_old_addresses_stay_when_renumber_runs_again(imports: Path) -> None:
    guest = files("ifupdown")
    first = proposal(guest, instance(FIRST))
    again = proposal(changed(guest, first), instance(FIRST))
    for made in (first, again):
        records.renumbering(NAME, made.changes, imports)
        (nic,) = journal.read(NAME, imports).addresses
        assert nic.old == ("192.0.2.10", "2001:db8:aaaa:0:5054:ff:fe12:3456")
        assert nic.new == ("198.51.100.2", "2001:db8:0:4f:a800:ff:fe00:1")


def test_other_addresses_are_noted_anew(imports: Path) -> None:
    other = {**FIRST, "IP": "198.51.100.9"}
    guest = files("ifupdown")
    first = proposal(guest, instance(FIRST))
    records.renumbering(NAME, first.changes, imports)
    records.renumbering(NAME, proposal(changed(guest, first), instance(other)).changes, imports)
    (nic,) = journal.read(NAME, imports).addresses
    assert (nic.old[0], nic.new[0]) == ("198.51.100.2", "198.51.100.9")


def test_an_instance_without_an_import(imports: Path) -> None:
    records.completed("other.example.org", "check", imports)
    assert list(journal.imports(imports)) == [NAME]
