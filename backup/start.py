"""Starts `export` or `import`; stands alone, so that a node without a library hears which."""

import sys
from typing import NoReturn

from node.modules import run_if_complete

# The Debian packages of the modules that are not ours.
PACKAGES = {
    "distro_info": "python3-distro-info",
    "pyudev": "python3-pyudev",
    "seccomp": "python3-seccomp",
    "sh": "python3-sh",
    "xxhash": "python3-xxhash",
}


def start(script: str) -> NoReturn:
    """Runs the OS script of this name, and exits with its exit code."""

    def run() -> int:
        from backup.cli import main

        return main(script)

    sys.exit(run_if_complete(script, PACKAGES, run, failed=1))
