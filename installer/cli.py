"""The command line of the OS scripts that Ganeti executes."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from installer import oslog
from installer.create import create
from installer.rename import rename
from installer.verify import main as verify
from node import log
from node.isolation.namespace import contained
from node.program import run_command

UMASK = 0o022  # Ganeti's node daemon runs with 077, which files of the guest would get


def main(script: str) -> int:
    """Runs one OS script; returns its exit code: 0 done, 1 failed, 128 + N ended by signal N.

    Args:
        script: create, rename or verify; its arguments are in sys.argv.
    """
    os.umask(UMASK)
    log.to_stream(debug=oslog.is_debugged(os.environ), clean=oslog.mask_log_keywords)
    action = _ACTIONS[script]
    if script in ("create", "rename"):
        return _run(lambda: contained(lambda: _run(action)))
    return _run(action)


def _run(action: Callable[[], int | None]) -> int:
    return run_command(
        lambda: action() or 0,
        failed=1,
        debugging="debug level 1",
        clean=oslog.mask_log_keywords,
    )


def _create() -> None:
    create(os.environ, Path.cwd())


def _rename() -> None:
    rename(os.environ)


def _verify() -> None:
    verify(sys.argv[1:], os.environ, os_dir=Path.cwd())


_ACTIONS: dict[str, Callable[[], None]] = {
    "create": _create,
    "rename": _rename,
    "verify": _verify,
}
