"""What all passes of an import share, and what its journal tells of earlier ones."""

import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from converter import PartedProgress
from importer.copying.jobs import job
from importer.copying.jobs.facts import SourceFacts
from importer.copying.jobs.job import PREFIX, QEMU_STATE, RESERVE, directory_of, token_of
from importer.copying.rate import Rate
from importer.domains.inventory import State
from importer.host.connection import KvmHost
from importer.import_state import UNDONE_BY_A_PASS
from importer.journal import ImportState, Journal, Pass
from importer.plan.model import ImportPlan
from node.errors import KitError
from node.log import log


@dataclass(frozen=True)
class Session:
    """An import whose disks are copied.

    Attributes:
        host: the KVM host.
        plan: of the import.
        journal: of the import, held.
        volumes: of the copied disks by target: devices of this node.
        progress: is told of all disks.
        scratch: a directory on the KVM host; scratch files are made in one of ours in it.
        reserve: bytes that stay free there.
        rate: at which all disks together are read, or None for no limit.
    """

    host: KvmHost
    plan: ImportPlan
    journal: Journal
    volumes: Mapping[str, Path]
    progress: PartedProgress
    scratch: str = QEMU_STATE
    reserve: int = RESERVE
    rate: Rate | None = None

    def directory(self) -> str:
        """Our directory on the KVM host; it is in the journal before it is made."""
        before = self.journal.read().source_directory
        directory = directory_of(self.scratch, token_of(before) or new_token())
        if before != directory:
            job.remove(self.host, before)
            self.journal.update(lambda state: replace(state, source_directory=directory))
        return directory

    def point(self) -> str:
        """The checkpoint since which changes count, or that of a first pass that goes on."""
        return point_of(self.journal.read().passes)

    def note_source(self, facts: SourceFacts) -> None:
        """Writes to the journal what the state of the domain means for the passes.

        It warns of disks that are not in the plan.

        Raises:
            KitError: a pass would only do harm, see `require_behind`.
        """
        for target in facts.unplanned:
            log.warning("%s: disk %s is not in the plan: not copied", self.plan.domain, target)
        known = next((each for each in get_args(State) if each == facts.state.state), None)
        if known is not None and self.journal.read().source_before is None:
            self.journal.update(lambda before: replace(before, source_before=known))
        if is_changing(facts):
            self.journal.update(_is_not_final)
        else:
            require_behind(self.journal.read(), facts)

    def note(self, current: Pass) -> None:
        """Writes a pass to the journal: a new one, or the last one as it is now."""

        def noted(state: ImportState) -> ImportState:
            earlier = [each for each in state.passes if each.number != current.number]
            after = state.without_step(*UNDONE_BY_A_PASS)
            return replace(after, passes=(*earlier, current))

        self.journal.update(noted)


def is_changing(facts: SourceFacts) -> bool:
    """Whether the domain may write to its disks now. Pure."""
    return facts.is_on and facts.state.state != "paused"


def require_behind(state: ImportState, facts: SourceFacts) -> None:
    """Checks that the volumes of an instance may be behind the source. Pure.

    Since the last pass, Ganeti may have run the instance without our knowledge.

    Raises:
        KitError: the last pass is complete, and the domain does not run.
    """
    if is_changing(facts) or not (state.done("final copy") and state.done("add")):
        return
    verb = "resume" if facts.is_on else "start"
    raise KitError(
        f"import {state.instance}: its last pass is complete, and {state.domain} does not run:"
        " another copy could only overwrite what the instance has written",
        hint=f"to go back to the source: instance-kit import abort {state.instance}; to copy it"
        f" again, let it run first, on {state.host}: virsh {verb} {shlex.quote(state.domain)}",
    )


def _is_not_final(state: ImportState) -> ImportState:
    """The source runs, whatever an earlier final pass did: another one has to come.

    A guest that did not shut down in time for that one may still do so (`guard.explained`).
    """
    may_go_off = state.stopped_by_us == "shut down" and not state.done("final copy")
    stopped = state.stopped_by_us if may_go_off else None
    return replace(state.without_step("final copy"), stopped_by_us=stopped)


def new_token() -> str:
    """Part of the names of what is ours on a KVM host."""
    return secrets.token_hex(8)


def new_checkpoint(token: str) -> str:
    """A name for a checkpoint that no earlier one had: their bitmaps may still be in the images."""
    return f"{PREFIX}{token}-{secrets.token_hex(3)}"


def is_ours(checkpoint: str, token: str) -> bool:
    """Whether a checkpoint was made by the import with that token."""
    return bool(token) and checkpoint.startswith(f"{PREFIX}{token}-")


def last_complete(passes: tuple[Pass, ...]) -> Pass | None:
    """The last pass that has copied all disks."""
    return next((each for each in reversed(passes) if each.complete), None)


def point_of(passes: tuple[Pass, ...]) -> str:
    """The checkpoint since which changes count, or that of an interrupted first pass; or ""."""
    known = last_complete(passes) or unfinished(passes)
    return known.checkpoint if known else ""


def unfinished(passes: tuple[Pass, ...]) -> Pass | None:
    """The last pass, if it is not complete."""
    return passes[-1] if passes and not passes[-1].complete else None
