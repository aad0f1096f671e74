"""`instance-kit import adopt`: gives the volumes of an import to Ganeti."""

import argparse
import shlex
from contextlib import ExitStack
from pathlib import Path

from importer import ganeti, journal
from importer.adoption import adopt
from importer.adoption.adopt import Wanted
from importer.host.connection import connected
from importer.plan.load import load
from importer.plan.word import word
from kit import DONE
from node.program import say

NAME = "adopt"
ABOUT = "make the instance of the copied volumes; mirror it, start it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.set_defaults(quiet=False)
    parser.add_argument("plan", metavar="PLAN", help="the file that `import plan` has written")
    parser.add_argument(
        "--trial",
        action="store_true",
        help="the source may still run, and is copied again later, into the same volumes;"
        " gnt-instance remove would destroy them",
    )
    parser.add_argument("--drbd", action="store_true", help="mirror the disks to another node")
    parser.add_argument("--secondary", metavar="NODE", help="that node; default: Ganeti chooses it")
    parser.add_argument("--failover", action="store_true", help="to the secondary node")
    parser.add_argument("--start", action="store_true", help="start the instance")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, change nothing")


def run(options: argparse.Namespace) -> int:
    """Does all steps that are asked for and not done.

    Raises:
        KitError: a step failed, or cannot be done yet.
    """
    plan, text = load(Path(options.plan))
    cluster = ganeti.of_this_node()
    wanted = Wanted(
        trial=options.trial,
        convert=options.drbd or options.secondary is not None,
        secondary=options.secondary,
        fail_over=options.failover,
        start=options.start,
        plan=word(options.plan),
    )
    if options.dry_run:
        say("\n".join(shlex.join(cluster.command(argv)) for argv in adopt.commands(plan, wanted)))
        return DONE
    with journal.resumed(plan, text) as record, ExitStack() as stack:
        record.note_plan_file(Path(options.plan))
        needed = adopt.asks_source(record.read(), wanted)
        host = stack.enter_context(connected(plan.host)) if needed else None
        adopt.adopt(plan, record, cluster, wanted, host)
    return DONE
