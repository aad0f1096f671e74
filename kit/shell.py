"""`instance-kit shell`: a shell of the node, or a command, in the tree of a guest."""

import argparse
import os
from pathlib import Path

from kit import USAGE
from kit.mount import how, what
from kit.rescue import keeper, target
from node import syscalls
from node.errors import KitError
from node.log import log
from node.program import complain
from node.terminal import run_on_terminal

NAME = "shell"
ABOUT = "run a shell of this node, or a command, in the tree of a guest"

# Every Debian system has it. The mount is in a namespace of ours: other processes do not see it.
PLACE = Path("/mnt")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    how(parser)
    what(parser)
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="of this node, with its arguments; default: $SHELL",
    )
    parser.set_defaults(quiet=False)


def run(options: argparse.Namespace) -> int:
    """Mounts, runs the command, unmounts; returns the command's exit code."""
    command = options.command or [os.environ.get("SHELL") or "/bin/sh"]
    if command[0].startswith("-"):
        complain(f"{command[0]}: options go before INSTANCE", "instance-kit shell --help")
        return USAGE
    chosen = target.find(options.instance)
    try:
        syscalls.unshare_mounts()
    except OSError as error:
        raise KitError(
            f"mount namespace of the shell: {error.strerror}",
            hint="run it outside of containers that forbid unshare(2)",
        ) from error
    served = keeper.served(chosen, PLACE, options.partition, write=options.write)
    with served as (found, _):
        for each in found["left_out"]:
            log.warning("not mounted: %s", each)
        if not options.command:
            mode = "writable" if options.write else "read-only"
            log.info("%s: mounted on %s for this shell, %s", chosen.name, PLACE, mode)
        try:
            return run_on_terminal(command, PLACE)
        finally:
            # What the node has mounted at or below PLACE is unmounted here, too, and our directory
            # may be there.
            os.chdir("/")
