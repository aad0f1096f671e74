"""`instance-kit import finish`: prints what remains for people after a move."""

import argparse
from pathlib import Path

from importer import finish, journal
from importer.host.connection import connected
from importer.host.virsh import Virsh
from importer.plan.load import load
from importer.plan.model import ImportPlan
from importer.plan.word import word
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
    left = _checkpoints(plan, [each.checkpoint for each in state.passes])
    text = finish.text(plan, state, left, word(options.plan))
    say("\n".join(printable(line) for line in text.splitlines()))
    if finish.complete(state):
        records.completed(plan.instance, "finish")
    return DONE


def _checkpoints(plan: ImportPlan, ours: list[str]) -> list[str]:
    """Those of our checkpoints that are left; all of them if the host does not answer."""
    made = [name for name in dict.fromkeys(ours) if name]
    if not made:
        return []
    try:
        with connected(plan.host) as host:
            left = Virsh(host).checkpoints(plan.uuid)
    except KitError as error:
        log.warning("checkpoints on %s: %s", plan.host, error.message)
        return made
    return [name for name in made if name in left]
