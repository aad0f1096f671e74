"""`instance-kit import`: moves a libvirt machine into Ganeti, step by step."""

import argparse

from kit.import_ import (
    abort,
    adopt,
    check,
    copy,
    finish,
    inventory,
    plan,
    renumber,
    run_plan,
    status,
)
from kit.verb import Verb
from node.modules import require_modules

NAME = "import"
ABOUT = "move a virtual machine of a libvirt host into Ganeti"
# The modules of Debian's packages that only this verb needs; they are loaded when they are used.
NEEDED = {"nbd": "python3-libnbd"}


VERBS: tuple[Verb, ...] = (
    *(inventory, plan, copy, adopt),
    *(renumber, check, finish),
    run_plan,
    *(status, abort),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb: verbs of its own, in the order of a move."""
    verbs = parser.add_subparsers(metavar="VERB", dest="import_verb", required=True)
    for verb in VERBS:
        added = verbs.add_parser(
            verb.NAME, help=verb.ABOUT, description=verb.ABOUT, allow_abbrev=False
        )
        added.set_defaults(act=verb.run)
        verb.arguments(added)


def run(options: argparse.Namespace) -> int:
    """Runs the sub-verb."""
    require_modules("instance-kit import", NEEDED)
    code: int = options.act(options)
    return code
