"""What a session of a copy notes in the journal."""

import time
from pathlib import Path
from typing import cast

from converter import PartedProgress
from importer import journal
from importer.copying.session import Session
from importer.host.connection import KvmHost
from importer.journal import Pass, Step

from .source import PLAN

TRIED: tuple[Step, ...] = ("volumes", "copy", "add", "tag", "renumber", "check", "start")


def test_a_pass_into_a_trial_instance_undoes_what_was_done_to_its_guest(tmp_path: Path) -> None:
    with journal.begun(PLAN, "", tmp_path) as record:
        for step in TRIED:
            record.completed(step)
        host, progress = cast(KvmHost, None), cast(PartedProgress, None)
        Session(host, PLAN, record, {}, progress).note(Pass(2, True, "", time.time()))
        state = record.read()
    assert set(state.steps) == {"volumes", "copy", "add", "tag"}
    assert [each.number for each in state.passes] == [2]
