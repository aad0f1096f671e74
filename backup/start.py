"""Starts `export` or `import`; stands alone, so that a node without a library hears which."""

import sys
from typing import NoReturn

from node.modules import lacking
from node.program import give_up_streams, open_streams

# The Debian packages of the modules that are not ours.
PACKAGES = {
    "distro_info": "python3-distro-info",
    "pyudev": "python3-pyudev",
    "seccomp": "python3-seccomp",
    "sh": "python3-sh",
    "xxhash": "python3-xxhash",
}


def start(script: str) -> NoReturn:
    """Runs the OS script of this name, and ends with its exit code."""
    open_streams()
    if lacking(script, PACKAGES):
        sys.exit(1)
    from backup.cli import main

    try:
        code = main(script)
    finally:
        give_up_streams()
    sys.exit(code)
