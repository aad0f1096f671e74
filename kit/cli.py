"""The command line of instance-kit: its verbs, and its exit code."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from kit import (
    DONE,
    FAILED,
    USAGE,
    cache,
    cp,
    doctor,
    export,
    facts,
    gc,
    import_,
    mount,
    restore,
    shell,
    umount,
    verify,
)
from kit.verb import Verb
from node import log
from node.errors import KitError
from node.program import complain, run_command

UMASK = 0o022  # for the files of guests; files of the node are made with explicit modes


VERBS: tuple[Verb, ...] = (
    *(facts, doctor, cache),
    *(mount, umount, shell, cp),
    *(export, restore, verify),
    import_,
    gc,
)


class _Parser(argparse.ArgumentParser):
    """Errors of usage in the form of all others."""

    def error(self, message: str) -> NoReturn:
        complain(message, f"{self.prog} --help, or man instance-kit")
        sys.exit(USAGE)


def parser() -> argparse.ArgumentParser:
    """The verbs and their options; instance-kit(8) explains them at length."""
    made = _Parser(
        prog="instance-kit",
        description="Tasks of administrators on a Ganeti node.",
        epilog="exit codes: 0 done, 1 a check found a problem, 2 wrong usage, 3 failed,"
        " 128+N ended by signal N",
        allow_abbrev=False,
    )
    verbs = made.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    for verb in VERBS:
        added = verbs.add_parser(
            verb.NAME, help=verb.ABOUT, description=verb.ABOUT, allow_abbrev=False
        )
        added.set_defaults(run=verb.run, quiet=True)
        verb.arguments(added)
        for each in leaves(added):
            each.add_argument(
                "--debug", action="store_true", help="programs that are run, tracebacks"
            )
    return made


def leaves(top: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers that take a verb's options: its own, or those of its sub-verbs."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [leaf for each in action.choices.values() for leaf in leaves(each)]
    return [top]


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns its exit code."""
    made = parser()
    options = made.parse_args(argv)
    if options.verb is None:
        made.print_help()
        return DONE
    os.umask(UMASK)
    log.to_stream(debug=options.debug, quiet=options.quiet, stderr=True)

    def action() -> int:
        if os.geteuid() != 0:
            raise KitError(
                f"instance-kit {options.verb}: only root may do that", hint="run it as root"
            )
        code: int = options.run(options)
        return code

    return run_command(action, failed=FAILED, debugging="--debug")
