"""Starts an OS script; stands alone, so that a node without the kit's libraries hears which."""

import sys
from importlib.util import find_spec
from typing import NoReturn

# The Debian packages of the modules that are not ours.
PACKAGES = {"sh": "python3-sh", "jinja2": "python3-jinja2"}


def start(script: str) -> NoReturn:
    """Runs the OS script of this name, and ends with its exit code."""
    if missing := [module for module in PACKAGES if find_spec(module) is None]:
        print(f"error: {script}: Python modules: missing: {', '.join(missing)}", file=sys.stderr)
        packages = " ".join(PACKAGES[module] for module in missing)
        print(f"hint: apt-get install {packages}", file=sys.stderr)
        sys.exit(1)
    from installer.cli import main

    sys.exit(main(script))
