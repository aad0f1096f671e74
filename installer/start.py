"""Starts an OS script; imports little, so that it can name the libraries that a node lacks."""

import sys
from typing import NoReturn

from node.modules import lacking
from node.program import give_up_streams, open_streams

# The Debian packages of modules from outside the kit.
PACKAGES = {
    "distro_info": "python3-distro-info",
    "jinja2": "python3-jinja2",
    "seccomp": "python3-seccomp",
    "sh": "python3-sh",
}


def start(script: str) -> NoReturn:
    """Runs the OS script of this name, and exits with its exit code."""
    open_streams()
    if lacking(script, PACKAGES):
        sys.exit(1)
    from installer.cli import main

    try:
        code = main(script)
    finally:
        give_up_streams()
    sys.exit(code)
