"""The file of a plan, as a word of the commands that users are told to run."""

import shlex
from pathlib import Path

from importer.plan.load import load
from node.errors import KitError
from node.text import printable

UNKNOWN = "PLAN"


def word(path: str) -> str:
    """The path of a plan, quoted for the shell and printable. Pure."""
    return printable(shlex.quote(path))


def noted_word(path: str, instance: str) -> str:
    """As `word`, of a path that was noted earlier; PLAN if it has no plan of this instance now.

    The file may have been moved, and the plan of another machine may be there since.

    Args:
        path: absolute; "" if none was noted.
        instance: the full name of the instance.
    """
    try:
        plan, _ = load(Path(path))
    except KitError:
        return UNKNOWN
    return word(path) if plan.instance == instance else UNKNOWN
