"""Starts an OS script; stands alone, so that a node without the kit's libraries hears which."""

import sys
from typing import NoReturn

# The Debian packages of the modules that are not ours.
PACKAGES = {"sh": "python3-sh", "jinja2": "python3-jinja2"}


def start(script: str) -> NoReturn:
    """Runs the OS script of this name, and ends with its exit code."""
    try:
        from installer.cli import main
    except ModuleNotFoundError as error:
        package = PACKAGES.get(str(error.name), f"python3-{error.name}")
        print(f"error: {script}: the Python module {error.name} is missing", file=sys.stderr)
        print(f"hint: apt-get install {package}", file=sys.stderr)
        sys.exit(1)
    sys.exit(main(script))
