"""Host names that are longer than Linux takes, in a create and in a rename."""

import logging
from dataclasses import replace

import pytest

from installer.hooks.identity import HookHostname
from installer.rename import new_hostname
from node.errors import KitError
from tests.unit.installer.hooks.test_hooks import context

LONG = f"web1.{'b' * 60}.example.org"


def test_a_guest_with_a_long_name_is_called_by_its_first_part(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = context()
    made = replace(made, instance=replace(made.instance, name=LONG))
    with caplog.at_level(logging.INFO, "ganeti-instance-kit"):
        HookHostname().check(made)
    files = HookHostname().render(made)
    assert files["etc/hostname"].text == "web1\n"
    assert f"{LONG} web1" in files["etc/hosts"].text
    assert "the guest's host name is web1" in caplog.text


def test_a_first_part_that_is_too_long_is_an_error_before_a_disk_is_touched() -> None:
    made = context()
    made = replace(made, instance=replace(made.instance, name="a" * 70))
    with pytest.raises(KitError, match="70 characters"):
        HookHostname().check(made)


@pytest.mark.parametrize(
    ("text", "new", "expected"),
    [
        ("old.example.org\n", "new.example.org", "new.example.org\n"),
        ("old\n", "new.example.org", "new\n"),
        ("old.example.org\n", LONG, "web1\n"),
        ("other\n", LONG, None),
    ],
)
def test_a_rename_shortens_it_as_well(text: str, new: str, expected: str | None) -> None:
    assert new_hostname(text, "old.example.org", new) == expected


def test_a_rename_to_a_name_that_is_too_long_is_an_error() -> None:
    with pytest.raises(KitError, match="70 characters"):
        new_hostname("old\n", "old", "a" * 70)
