"""Starts an OS script; imports little, so that it can name the libraries that a node lacks."""

import sys
from typing import NoReturn

from node.modules import run_if_complete

# The Debian packages of modules from outside the kit.
PACKAGES = {
    "distro_info": "python3-distro-info",
    "jinja2": "python3-jinja2",
    "seccomp": "python3-seccomp",
    "sh": "python3-sh",
}


def start(script: str) -> NoReturn:
    """Runs the OS script of this name, and exits with its exit code."""

    def run() -> int:
        from installer.cli import main

        return main(script)

    sys.exit(run_if_complete(script, PACKAGES, run, failed=1))
