"""Python modules that Debian packages: what is missing is said before anything needs it."""

import sys
from collections.abc import Mapping
from importlib.util import find_spec


def lacking(program: str, packages: Mapping[str, str]) -> bool:
    """Whether modules are missing on this node; says all of them, and what to install.

    Args:
        program: for whom they are missing.
        packages: Debian's package of each module.
    """
    missing = [module for module in packages if find_spec(module) is None]
    if missing:
        install = " ".join(packages[module] for module in missing)
        print(f"error: {program}: Python modules: missing: {', '.join(missing)}", file=sys.stderr)
        print(f"hint: apt-get install {install}", file=sys.stderr)
    return bool(missing)
