#!/usr/bin/python3 -I
"""The program `qcow2raw`. It stands alone, so that missing libraries are named before all else."""

import sys
from pathlib import Path

# The Debian packages of the modules that are not ours.
PACKAGES = {"nbd": "python3-libnbd", "pyudev": "python3-pyudev", "sh": "python3-sh"}


def main() -> int:
    """Runs the program; returns its exit code."""
    try:
        from converter.cli import main as run
    except ModuleNotFoundError as error:
        package = PACKAGES.get(str(error.name), f"python3-{error.name}")
        print(f"error: qcow2raw: the Python module {error.name} is missing", file=sys.stderr)
        print(f"hint: apt-get install {package}", file=sys.stderr)
        return 3
    return run(sys.argv[1:])


if __name__ == "__main__":
    # In place of this directory, whose `copy` and `inspect` are not the standard library's.
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main())
