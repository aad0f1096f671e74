"""Starts a program that needs Python modules which Debian packages."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from node.program import complain, give_up_streams, open_streams


def run_if_complete(
    program: str, packages: Mapping[str, str], run: Callable[[], int], *, failed: int
) -> int:
    """Runs a program with usable standard streams, unless modules are missing: these are named.

    Args:
        program: its name, for the message.
        packages: the Debian package of each module that is not ours.
        run: the program; it imports what needs the modules, and returns the exit code.
        failed: the exit code if modules are missing.
    """
    open_streams()
    if lacking(program, packages):
        return failed
    try:
        return run()
    finally:
        give_up_streams()


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
