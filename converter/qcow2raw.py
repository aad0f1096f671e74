#!/usr/bin/python3 -I
"""The program `qcow2raw`. It reports missing Python modules before it loads the converter."""

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
    from node.modules import lacking
    from node.program import give_up_streams, open_streams

    open_streams()
    if lacking("qcow2raw", PACKAGES):
        return 3
    from converter.cli.main import main as run

    try:
        return run(sys.argv[1:])
    finally:
        give_up_streams()


if __name__ == "__main__":
    # Replaces this directory in the path: its modules must not hide the standard library's.
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
