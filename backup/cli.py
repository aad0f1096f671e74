"""What Ganeti executes as `export` and `import`: their streams, their log, their last lines."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from select import select

from backup.errors import DiskTooSmallError, StreamRefusedError
from backup.export import export
from backup.import_ import begun, import_
from backup.kinds import Kind
from backup.options import ImportOptions
from backup.requests import read_request
from backup.streams.pipes import Output
from converter import paths
from converter.progress import Lines
from installer import oslog
from node import log
from node.errors import KitError
from node.isolation.namespace import contained
from node.modules import require_modules
from node.program import Failure, run_command

# Ganeti's import-export daemon reads what we print a KiB at a time, and at our end only once more:
# of a burst it shows the beginning. So it gets time to read what stands before the last lines.
PAUSE = 0.3  # seconds
STOPPED = (
    "Ganeti stops a script when the other end of its stream fails: why is in what Ganeti says of"
    " that end, and in that end's log"
)
OF_DUMPS = {"jinja2": "python3-jinja2"}  # more than what `backup.start` asks for


def main(script: str) -> int:
    """Runs `export` or `import`; returns the exit code: 0 only if all is there, and on the disk."""
    log.to_stream(debug=oslog.is_debugged(os.environ), stderr=True, clean=oslog.mask_log_keywords)
    if script == "import":  # it may start a virtual machine, and nothing of that may stay
        return _run(lambda: contained(lambda: _run(_import)))
    return _run(_export)


def _run(action: Callable[[], int]) -> int:
    return run_command(
        action,
        failed=1,
        debugging="debug level 1",
        clean=oslog.mask_log_keywords,
        explain=_explained,
    )


def _explained(_error: BaseException, failure: Failure) -> Failure:
    """Waits until what was logged has been read; who stops a script is Ganeti."""
    log.flush()
    time.sleep(PAUSE)
    return failure._replace(hint=STOPPED) if failure.stopped else failure


def _export() -> int:
    request = read_request(os.environ, "export")
    expect = None if request.size_fd is None else partial(_tell, request.size_fd)
    output = Output(sys.stdout.fileno())
    export(request.device, request.origin, output, Lines(sys.stderr), expect)
    return 0


def _tell(fd: int, count: int) -> None:
    """Tells Ganeti how large the stream will be, roughly, for its time to go."""
    with suppress(OSError, ValueError):  # nothing depends on it; select(2) takes no large numbers
        if select([], [fd], [], 0)[1]:  # where nobody reads, it must not wait
            os.write(fd, b"%d\n" % count)
    with suppress(OSError):
        os.close(fd)


def _import() -> int:
    request = read_request(os.environ, "import")
    paths.found(request.device, "target")
    options = ImportOptions(
        device=request.device,
        what=f"import of disk {request.index} of {request.instance}",
        stream="the stream on stdin",
        key=f"{request.instance}-disk{request.index}",
        force=True,
        allow_file=True,
        use_kvm=request.use_kvm,
    )
    try:
        frames, kind = begun(options, sys.stdin.fileno())
        if kind is Kind.DUMP:
            require_modules(f"{options.what} from a dump", OF_DUMPS)
            from backup.dumps.restore import import_dump  # it loads all that a create does

            import_dump(options, request.index, frames, os.environ, Path.cwd())
        else:
            import_(options, frames, kind, Lines(sys.stderr))
    except StreamRefusedError as error:
        hint = "if nothing came: is the dump's file there, and what does the exporting node's log"
        raise KitError(error.message, f"{error.hint}; {hint} say?") from error
    except DiskTooSmallError as error:
        mebibytes = -(-error.smallest // (1 << 20))
        hint = f"the smallest disk that {error.works}: --disk {request.index}:size={mebibytes}M"
        raise KitError(error.message, hint) from error
    return 0
