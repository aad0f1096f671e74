#!/usr/bin/python3 -I
"""The program `instance-kit`. It names missing libraries before it imports anything else."""

import signal
import sys
from pathlib import Path

# The Debian packages of the modules that are not ours.
PACKAGES = {
    "distro_info": "python3-distro-info",
    "jinja2": "python3-jinja2",
    "pyudev": "python3-pyudev",
    "seccomp": "python3-seccomp",
    "sh": "python3-sh",
    "tqdm": "python3-tqdm",
    "xxhash": "python3-xxhash",
}


def main() -> int:
    """Runs the program; returns its exit code."""
    from node.modules import run_if_complete

    return run_if_complete("instance-kit", PACKAGES, _run, failed=3)


def _run() -> int:
    from kit.cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    # Until the command handles signals, Ctrl-C ends it without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Replaces the directory of this file, so that its modules do not hide the standard library's.
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
