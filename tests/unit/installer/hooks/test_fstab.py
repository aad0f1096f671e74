"""fstab after the site's hooks."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guest.instance import Disk
from installer.disks.layout import PlannedDisk, Role
from installer.hooks import fstab
from installer.hooks.base import Context
from installer.hooks.fstab import HookFstab
from node.run import Result
from tests.unit.installer.hooks.test_hooks import RecordingTree, context


def with_swap() -> Context:
    made = context()
    disk = Disk(1, "/dev/vg/swap", None, "swap", "rw")
    swap = PlannedDisk(disk, Role.SWAP, 2**30, uuid="old")
    return replace(made, layout=replace(made.layout, swaps=(swap,)))


def mended(target: RecordingTree, added: str, probe: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fstab after a site hook that adds to it and leaves disk 1 so that blkid says this."""

    def run(argv: Sequence[str], **_: Any) -> Result:
        assert list(argv) == ["blkid", "-p", "-o", "export", "/dev/vg/swap"]
        return Result(0, probe, "")

    monkeypatch.setattr(fstab, "run", run)
    later = HookFstab().apply(with_swap(), target)
    target.write("etc/fstab", target.read("etc/fstab") + added)
    later.mend()
    return target.read("etc/fstab")


@pytest.mark.parametrize(
    ("added", "probe", "lines"),
    [
        ("", "TYPE=swap\nUUID=old\n", ["UUID=old none"]),
        ("", "TYPE=swap\nUUID=new\n", ["UUID=new none"]),
        ("UUID=new swap swap sw\n", "TYPE=swap\nUUID=new\n", ["UUID=new swap"]),
        ("/dev/vdb swap swap sw\n", "TYPE=swap\nUUID=new\n", ["/dev/vdb swap"]),
        ("/dev/vdb /data ext4\n", "TYPE=ext4\nUUID=new\n", ["/dev/vdb /data"]),
        ("", "", []),
    ],
)
def test_swap_that_a_hook_made_anew_is_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    added: str,
    probe: str,
    lines: list[str],
) -> None:
    text = mended(RecordingTree(tmp_path), added, probe, monkeypatch)
    found = [" ".join(line.split()[:2]) for line in text.splitlines()[1:]]
    others = [line for line in found if not line.endswith((" /", " /tmp"))]
    assert others == lines


def test_the_log_says_what_was_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ganeti-instance-kit"):
        text = mended(
            RecordingTree(tmp_path),
            "# \udce4\ntmpfs /tmp tmpfs size=1g 0 0\n",
            "TYPE=swap\nUUID=old\n",
            monkeypatch,
        )
    assert text.count("/tmp") == 1 and "size=1g" in text
    assert (
        "a site hook has written its own line for /tmp: the built-in one is removed" in caplog.text
    )
