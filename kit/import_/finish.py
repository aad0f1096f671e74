"""`instance-kit import finish`: prints what remains for people after a move."""

import argparse
from pathlib import Path

from importer import finish, journal
from importer.host.connection import connected
from importer.host.virsh import Virsh
from importer.import_state import ImportState
from importer.plan.load import load
from importer.plan.model import ImportPlan
from importer.plan.word import word
from importer.retiring import Source
from kit import DONE
from kit.import_ import records
from node.errors import KitError
from node.log import log
from node.program import say
from node.text import printable

NAME = "finish"
ABOUT = "print what remains: DNS records, announcement, how to retire the source"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument("plan", metavar="PLAN", help="the file that `import plan` has written")


def run(options: argparse.Namespace) -> int:
    """Prints it; when the instance was started after the last copy, the import is complete.

    Raises:
        KitError: there is no such plan or import, or its journal cannot be read.
    """
    plan, _ = load(Path(options.plan))
    state = journal.read(plan.instance)
    source = _source(plan, state) if finish.complete(state) else Source()
    text = finish.text(plan, state, source, word(options.plan))
    say("\n".join(printable(line) for line in text.splitlines()))
    if finish.complete(state):
        records.completed(plan.instance, "finish")
    return DONE


def _source(plan: ImportPlan, state: ImportState) -> Source:
    """The source as it is now; unknown if the host does not answer."""
    ours = dict.fromkeys(each.checkpoint for each in state.passes if each.checkpoint)
    try:
        with connected(plan.host) as host:
            virsh = Virsh(host)
            found = virsh.state(plan.uuid).state
            left = virsh.checkpoints(plan.uuid) if ours else []
    except KitError as error:
        log.warning("%s on %s: %s", plan.domain, plan.host, error.message)
        return Source()
    return Source(found, [name for name in ours if name in left])
