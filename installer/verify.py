"""The OS script `verify`: checks the OS parameters (ganeti-os-interface(7))."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from installer.settings import load
from node.errors import KitError
from node.log import log


def main(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    defaults_file: Path = load.DEFAULTS_FILE,
    os_dir: Path | None = None,
) -> None:
    """Runs the named checks; Ganeti only knows `parameters`.

    Raises:
        KitError: a check failed, or is unknown.
    """
    unknown = sorted(set(argv) - {"parameters"})
    if unknown or not argv:
        raise KitError(
            f"verify {' '.join(unknown)}: no such check" if unknown else "verify: no check given",
            "the only check is: verify parameters",
        )
    parameters(environ, defaults_file=defaults_file, os_dir=os_dir)


def parameters(
    environ: Mapping[str, str],
    *,
    defaults_file: Path = load.DEFAULTS_FILE,
    os_dir: Path | None = None,
) -> None:
    """Checks the OS parameters together with the defaults file and the variant's file.

    Args:
        environ: Ganeti's environment.
        defaults_file: the site's settings.
        os_dir: the directory of the OS definition. By default the working directory, in which
            Ganeti runs OS scripts.

    Raises:
        KitError: values are not allowed; each was logged on a line of its own.
    """
    try:
        loaded = load.load(
            environ.get("OS_VARIANT"),
            environ,
            defaults_file=defaults_file,
            os_dir=os_dir or Path.cwd(),
        )
    except load.BadSettingsError as error:
        for problem in error.problems:
            log.error("%s", problem)
        count = len(error.problems)
        raise KitError(
            f"OS parameters and settings: {count} {'is' if count == 1 else 'are'} not allowed",
            error.hint,
        ) from None
    for warning in loaded.warnings:
        log.warning("%s", warning)
