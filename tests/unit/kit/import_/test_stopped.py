"""The disks of a stopped instance are active while its guest is read."""

from collections.abc import Sequence
from typing import Any

import pytest

from kit.import_ import stopped
from kit.instance_disks import Disks, DisksInactive
from node import log

NAME = "web.example.org"


class Cluster:
    def __init__(self) -> None:
        self.ran: list[Sequence[str]] = []

    def run(self, argv: Sequence[str]) -> None:
        self.ran.append(argv)

    def disks(self, _given: str, *, or_path: bool) -> Disks:
        assert not or_path
        if not self.ran:
            raise DisksInactive(NAME, "not active", "")
        return Disks(NAME, (), None)


def test_disks_are_active_meanwhile_and_the_line_tells_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster()
    given: dict[str, Any] = {"_found": lambda *_: None, "stopped_instance": cluster.disks}
    for name, value in given.items():
        monkeypatch.setattr(stopped, name, value)
    monkeypatch.setattr(stopped.ganeti, "of_this_node", lambda: cluster)
    log.to_stream()
    with stopped.stopped(NAME):
        assert cluster.ran == [["gnt-instance", "activate-disks", NAME]]
    assert cluster.ran[1:] == [["gnt-instance", "deactivate-disks", NAME]]
    assert capsys.readouterr().out == f"activate the disks of {NAME}\n"
