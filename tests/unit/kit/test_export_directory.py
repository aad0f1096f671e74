"""Which dumps an export of Ganeti should have."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.export_directory import dumps

TOP = Path("/export/web1")
# As Ganeti 3.0 writes it, without what does not matter here.
WHOLE = """\
[export]
version = 0
compression = none

[instance]
name = web1.example.org
tags = %x
disk0_ivname = disk/0
disk0_dump = 1b5e7a4c
disk0_size = 1024
disk0_name = None
disk1_dump = 2c6f8b5d
disk_count = 2

[hypervisor]
"""


def test_all_disks() -> None:
    assert dumps(TOP, WHOLE) == [(0, TOP / "1b5e7a4c"), (1, TOP / "2c6f8b5d")]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("disk_count = 0", []),
        ("disk_count = 1\ndisk0_dump = None", [(0, None)]),
        # What Ganeti writes if the export of the first disk of two failed.
        ("disk_count = 1\ndisk1_dump = b", [(0, None), (1, TOP / "b")]),
        ("disk_count = 1\ndisk0_dump = a\nxdisk1_dump = b", [(0, TOP / "a")]),
    ],
)
def test_some_disks(config: str, found: object) -> None:
    assert dumps(TOP, f"[instance]\n{config}\n") == found


@pytest.mark.parametrize(
    "config",
    [
        "",
        "disk_count = 1",
        "[instance]",
        "[instance]\ndisk_count = x",
        "[instance]\ndisk_count = -1",
        "[instance]\ndisk_count = 1000000000",
        *(f"[instance]\ndisk_count = 1\ndisk0_dump = {name}" for name in ("../x", "/x", "..", "")),
    ],
)
def test_what_is_no_configuration(config: str) -> None:
    with pytest.raises(ValueError, match=r"it |the dump"):
        dumps(TOP, config)


@given(st.text() | st.text(alphabet="[instance]\n= disk_cout01dump%\0"))
def test_any_text_is_read_or_refused(config: str) -> None:
    for text in (config, f"[instance]\n{config}"):
        try:
            found = dumps(TOP, text)
        except ValueError:
            continue
        assert all(each.path is None or each.path.parent == TOP for each in found)
