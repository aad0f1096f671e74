import pytest

from installer.settings import DEFINITIONS, Settings, shellvars
from installer.settings.generate import TOP, defaults_file, generated, roff
from installer.settings.layers import Layer, resolve


@pytest.mark.parametrize("path", sorted(generated()))
def test_generated_files_are_up_to_date(path):
    assert (TOP / path).read_text() == generated()[path], "run: make generate"


def test_the_defaults_file_changes_nothing():
    assert shellvars.parse(defaults_file(), origin="defaults") == {}


def test_the_defaults_file_states_the_defaults():
    lines = [line.lstrip("#") for line in defaults_file().splitlines() if line.startswith("#")]
    stated = "\n".join(line for line in lines if line.partition("=")[0].isupper())
    values = shellvars.parse(stated, origin="defaults")
    assert set(values) == {found.key for found in DEFINITIONS.values()}
    assert resolve([Layer("defaults", values)]) == (Settings(), [])


def test_the_manual_has_every_setting():
    manual = generated()["man/ganeti-os-debootstrap.7"]
    for definition in DEFINITIONS.values():
        assert f"\n.B {roff(definition.key)}\n" in manual


def test_roff_escapes():
    assert roff(".a-b\\'") == "\\&.a\\-b\\e\\(aq"


def test_api_versions():
    assert (TOP / "os-definition/ganeti_api_version").read_text().split() == ["20", "15", "10"]
