"""`instance-kit cp`: copies files and directories out of a guest, or into it."""

import argparse
import os
from typing import NamedTuple

from kit import DONE
from kit.mount import partition
from kit.rescue import copy_in, copy_out, target
from node.errors import KitError

NAME = "cp"
ABOUT = "copy a file or directory out of a guest or into it"


class InGuest(NamedTuple):
    """A path in the guest of an instance or disk."""

    instance: str
    path: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this verb."""
    parser.add_argument("source", metavar="SOURCE", help="a path, or INSTANCE:/PATH in a guest")
    parser.add_argument("destination", metavar="DEST", help="likewise; one of both is in a guest")
    partition(parser)
    parser.set_defaults(quiet=False)


def run(options: argparse.Namespace) -> int:
    """Copies; all of it is on the disk then."""
    source, destination = in_guest(options.source), in_guest(options.destination)
    if (source is None) == (destination is None):
        raise KitError(
            f"{options.source}, {options.destination}: "
            + ("neither is in a guest" if source is None else "both are in guests"),
            hint="a path in a guest is INSTANCE:/PATH or DISK:/PATH, with a colon and a slash",
        )
    if source is not None:
        chosen = target.find(source.instance)
        place = copy_out.final_path(source.path, options.destination)
        copy_out.copy(chosen, source.path, place, options.partition)
    elif destination is not None:
        path = target.absolute(options.source)
        if not os.path.lexists(path) or not path.name:
            why = "no such file" if path.name else "the whole tree of this node"
            raise KitError(f"{options.source}: {why}", hint="name a file or directory")
        chosen = target.find(destination.instance)
        copy_in.copy(chosen, path, destination.path, options.partition)
    return DONE


def in_guest(given: str) -> InGuest | None:
    """The path in a guest that an argument names; None if it is a path of the node.

    It is split at the first colon before a slash: instances have no slash, and names of devices
    such as those in /dev/disk/by-path have colons, but none before a slash.
    """
    instance, colon, path = given.partition(":/")
    return InGuest(instance, f"/{path}") if colon and instance else None
