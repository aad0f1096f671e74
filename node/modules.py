"""Checks for missing Python modules that Debian packages."""

from collections.abc import Mapping
from importlib.util import find_spec

from node.program import complain


def lacking(program: str, packages: Mapping[str, str]) -> bool:
    """Whether modules are missing on this node; prints all of them and what to install.

    Args:
        program: the program that needs them, for the message.
        packages: the Debian package of each module.
    """
    missing = [module for module in packages if find_spec(module) is None]
    if missing:
        install = " ".join(packages[module] for module in missing)
        complain(
            f"{program}: Python modules: missing: {', '.join(missing)}",
            hint=f"apt-get install {install}",
        )
    return bool(missing)
