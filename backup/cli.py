"""What Ganeti executes as `export` and `import`: their streams, their log, their last lines."""

import os
import sys
import time
from collections.abc import Callable

from backup.export import export
from backup.import_ import import_
from backup.requests import read_request
from backup.streams.pipes import Output
from converter.progress import Lines
from installer import oslog
from installer.cli import is_debugged
from node import log
from node.program import Failure, run_command

# Ganeti's import-export daemon reads what we print a KiB at a time, and at our end only once more:
# of a burst it shows the beginning. So it gets time to read what stands before the last lines.
PAUSE = 0.3  # seconds


def main(script: str) -> int:
    """Runs `export` or `import`; returns the exit code: 0 only if all is there, and on the disk."""
    log.to_stream(debug=is_debugged(os.environ), stderr=True, clean=oslog.mask_log_keywords)
    return run_command(
        _ACTIONS[script],
        failed=1,
        debugging="debug level 1",
        clean=oslog.mask_log_keywords,
        explain=_let_be_read,
    )


def _let_be_read(_error: BaseException, failure: Failure) -> Failure:
    """Waits until what was logged has been read."""
    log.flush()
    time.sleep(PAUSE)
    return failure


def _export() -> int:
    export(read_request(os.environ, "export"), Output(sys.stdout.fileno()), Lines(sys.stderr))
    return 0


def _import() -> int:
    import_(read_request(os.environ, "import"), sys.stdin.fileno(), Lines(sys.stderr))
    return 0


_ACTIONS: dict[str, Callable[[], int]] = {"export": _export, "import": _import}
