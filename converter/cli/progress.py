"""Chooses the kind of progress report by `--progress`."""

import fcntl
import os
import sys

from converter.progress import Bar, Json, Lines, PartedProgress, Silent
from node.errors import KitError


def chosen(how: str, *, quiet: bool) -> PartedProgress:
    """The progress report for a value of `--progress`.

    Args:
        how: auto, bar, lines, none, json or json:FD; the option accepts no other values.
        quiet: with auto, report nothing.

    Raises:
        KitError: the descriptor is not open for writing.
    """
    kind, _, number = how.partition(":")
    if kind == "json":
        try:
            writes = fcntl.fcntl(int(number or "1"), fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        except OSError:
            writes = False
        if not writes:
            raise KitError(
                f"--progress {how}: the descriptor is not open for writing",
                hint="open it in the shell, as in 3>progress.log",
            )
        return Json(os.fdopen(os.dup(int(number or "1")), "w"), "--progress json")
    if how == "none" or (quiet and how == "auto"):
        return Silent()
    if how == "bar" or (how == "auto" and sys.stderr.isatty()):
        return Bar(sys.stderr)
    return Lines(sys.stderr)
