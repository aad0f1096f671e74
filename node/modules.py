"""Python modules that Debian packages: what is missing is said before anything needs it."""

from collections.abc import Mapping
from importlib.util import find_spec

from node.program import complain


def lacking(program: str, packages: Mapping[str, str]) -> bool:
    """Whether modules are missing on this node; says all of them, and what to install.

    Args:
        program: for whom they are missing.
        packages: Debian's package of each module.
    """
    missing = [module for module in packages if find_spec(module) is None]
    if missing:
        install = " ".join(packages[module] for module in missing)
        complain(
            f"{program}: Python modules: missing: {', '.join(missing)}",
            hint=f"apt-get install {install}",
        )
    return bool(missing)
