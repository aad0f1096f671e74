"""Starts a program that needs Python modules which Debian packages."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from node.errors import KitError
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
    try:
        require_modules(program, packages)
    except KitError as error:
        complain(error.message, error.hint)
        return failed
    try:
        return run()
    finally:
        give_up_streams()


def require_modules(program: str, packages: Mapping[str, str]) -> None:
    """Looks for modules that are not ours.

    Args:
        program: the program that needs them, for the message.
        packages: the Debian package of each module.

    Raises:
        KitError: modules are missing; it names all of them and what to install.
    """
    missing = [module for module in packages if find_spec(module) is None]
    if missing:
        install = " ".join(packages[module] for module in missing)
        raise KitError(
            f"{program}: Python modules: missing: {', '.join(missing)}",
            hint=f"apt-get install {install}",
        )
