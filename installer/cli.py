"""What Ganeti executes, by the name of the OS script."""

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from installer import oslog
from installer.create import create
from installer.rename import rename
from installer.verify import main as verify
from node import log
from node.cleanup import Terminated, signals_raise
from node.errors import KitError
from node.isolation.namespace import contained

UMASK = 0o022  # Ganeti's node daemon runs with 077, which would end up in the guest


def main(script: str) -> int:
    """Runs one OS script; returns its exit code: 0 done, 1 failed, 128 + N ended by signal N.

    Args:
        script: create, rename, verify, import or export; its arguments are in sys.argv.
    """
    os.umask(UMASK)
    debug = os.environ.get("DEBUG_LEVEL", "0") not in ("", "0")
    # export's stdout is the instance's data.
    log.to_stream(debug=debug, stderr=script in ("export", "import"), clean=oslog.mask_log_keywords)
    action = _ACTIONS[script]
    if script in ("create", "rename"):
        return _reported(lambda: contained(lambda: _reported(action, debug)), debug)
    return _reported(action, debug)


def _reported(action: Callable[[], int | None], debug: bool) -> int:
    """Runs an action and says in one last line why it failed, and in another what to do."""
    try:
        with signals_raise():
            return action() or 0
    except KitError as error:
        if debug:
            traceback.print_exc()
        message, hint, code = error.message, error.hint, 1
    except Terminated as signal:
        message, hint, code = f"stopped by {signal}", "run it again", 128 + signal.number
    except OSError as error:  # of a file whose failure nobody has foreseen
        if debug:
            traceback.print_exc()
        what = os.fsdecode(error.filename) if error.filename is not None else "a system call"
        message = f"{what}: {error.strerror or error}"
        hint, code = "dmesg and df tell more; debug level 1 shows what was being done", 1
    except Exception as error:  # whatever it is, the user gets a last line
        if debug:
            traceback.print_exc()
        message = f"unexpected: {type(error).__name__}: {error}"
        hint, code = "this is a bug: run with debug level 1 and report what it prints", 1
    log.flush()
    with suppress(OSError):
        print(
            f"error: {oslog.mask_log_keywords(message)}\nhint: {oslog.mask_log_keywords(hint)}",
            file=sys.stderr,
        )
    return code


def _create() -> None:
    create(os.environ, Path.cwd())


def _rename() -> None:
    rename(os.environ)


def _verify() -> None:
    verify(sys.argv[1:], os.environ, os_dir=Path.cwd())


def _not_yet() -> None:
    raise KitError(
        "backup of this instance: this version of the OS definition cannot export or import",
        hint="use gnt-backup with a disk template that copies disks, or copy the disks by hand",
    )


_ACTIONS: dict[str, Callable[[], None]] = {
    "create": _create,
    "rename": _rename,
    "verify": _verify,
    "import": _not_yet,
    "export": _not_yet,
}
