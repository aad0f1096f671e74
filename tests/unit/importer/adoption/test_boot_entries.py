"""Boot entries in a file of UEFI variables."""

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.adoption.boot_entries import without_old_hardware
from tests.unit.importer.adoption.uefi import DISK, OLD_PCI, SHELL, file_of


def test_only_entries_of_partitions_stay() -> None:
    variables = (
        ("Lang", b"eng"),
        ("Boot0001", OLD_PCI),
        ("Boot0002", SHELL),
        ("Boot000A", DISK),
        ("Boot0003", b""),
        ("BootOrder", b"\1\0\2\0\n\0"),
        ("BootNext", b"\n\0"),
    )
    deleted = ("Boot0001", "Boot0002", "Boot0003")
    assert without_old_hardware(file_of(*variables)) == file_of(*variables, deleted=deleted)


def test_a_second_time_changes_nothing() -> None:
    once = without_old_hardware(file_of(("Boot0001", OLD_PCI), ("Boot0002", DISK)))
    assert without_old_hardware(once) == once


def test_variables_of_other_vendors_stay() -> None:
    content = file_of(("Boot0001", SHELL), vendor=UUID(int=7))
    assert without_old_hardware(content) == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(540672),
        b"\xff" * 540672,
        file_of().replace(b"_FVH", b"_FVX"),
        file_of(("Boot0001", SHELL))[:200],
    ],
)
def test_what_is_no_file_of_variables_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no variables|longer than"):
        without_old_hardware(content)


@given(st.integers(0, 300), st.binary(min_size=1, max_size=40))
def test_a_damaged_file_is_refused_or_keeps_its_size(at: int, damage: bytes) -> None:
    content = bytearray(file_of(("Boot0001", OLD_PCI), ("Boot0002", DISK)))
    content[at : at + len(damage)] = damage
    with suppress(ValueError):
        assert len(without_old_hardware(bytes(content))) == len(content)
