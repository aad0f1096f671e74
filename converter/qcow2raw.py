#!/usr/bin/python3 -I
"""The program `qcow2raw`. It reports missing Python modules before it loads the converter."""

import signal
import sys
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
    from node.modules import run_if_complete

    return run_if_complete("qcow2raw", PACKAGES, _run, failed=3)


def _run() -> int:
    from converter.cli.main import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    # Until the command handles signals, Ctrl-C ends it without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Replaces this directory in the path: its modules must not hide the standard library's.
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
