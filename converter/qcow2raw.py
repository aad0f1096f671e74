#!/usr/bin/python3 -I
"""The program `qcow2raw`. It stands alone, so that missing libraries are named before all else."""

import os
import sys
from contextlib import suppress
from pathlib import Path

# The Debian packages of the modules that are not ours.
PACKAGES = {
    "nbd": "python3-libnbd",
    "pyudev": "python3-pyudev",
    "sh": "python3-sh",
    "tqdm": "python3-tqdm",
    "xxhash": "python3-xxhash",
}


def main() -> int:
    """Runs the program; returns its exit code."""
    _open_streams()
    from node.modules import lacking

    if lacking("qcow2raw", PACKAGES):
        return 3
    from converter.cli import main as run

    try:
        return run(sys.argv[1:])
    finally:
        _give_up_streams()


def _open_streams() -> None:
    """Opens the standard streams that are closed.

    Else the image or the target would get their numbers, and be written what is meant for stderr.
    A closed stdout stays one that cannot be written.
    """
    for number, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_RDONLY),
        (2, "stderr", os.O_WRONLY),
    ):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # it gets the lowest number that is free: this one
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    # Names may have characters that the locale has not; stderr escapes them, stdout would fail.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _give_up_streams() -> None:
    """Keeps what streams did not take from failing once more, when Python ends: with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    # In place of this directory, whose `copy` and `inspect` are not the standard library's.
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
