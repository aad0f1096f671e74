"""Where bootstraps are kept from one run of the tests to the next: each takes a minute or more.

The kit's own key of a cache tells what was bootstrapped, not by which code. So the directory is
named after that code's digest: where the code has changed, all is bootstrapped anew. No cache gets
older than MAX_DAYS: a fault that comes with the mirror's packages of today shows by then.
"""

import ast
import fcntl
import hashlib
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from installer.bootstrap import cache_directory
from installer.settings import Settings

TOP = Path(__file__).parents[1]
PLACE = Path("/var/cache/ganeti-instance-kit-tests")
MAX_DAYS = 7
OURS = ("guest", "installer", "node")
ENTRIES = ("installer.debootstrap", "installer.bootstrap.cache")  # what bootstraps and keeps it


def directory() -> Path:
    """The one that SANDBOX_CACHE names, or that of the code as it is now."""
    chosen = os.environ.get("SANDBOX_CACHE")
    return Path(chosen) if chosen else PLACE / code_digest(TOP)


def code_digest(top: Path) -> str:
    """16 hexadecimal digits for the modules that a bootstrap comes from."""
    digest = hashlib.sha256()
    for path in sorted(modules(top)):
        digest.update(f"{path.relative_to(top)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def modules(top: Path) -> set[Path]:
    """The modules of a checkout that a bootstrap comes from, found by their imports."""
    found: set[Path] = set()
    wanted = [*ENTRIES]
    while wanted:
        name = wanted.pop()
        stem = top.joinpath(*name.split("."))
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if name.partition(".")[0] not in OURS or path in found or not path.is_file():
                continue
            found.add(path)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module:
                    wanted += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
                elif isinstance(node, ast.Import):
                    wanted += [each.name for each in node.names]
    return found


def hold() -> int | None:
    """Makes the directory, and keeps it from other runs' tidying until the descriptor is closed.

    What is too old goes first, but not what another run holds. None where SANDBOX_CACHE names the
    directory: its owner tidies it.
    """
    mine = directory()
    if PLACE not in mine.parents:
        return None
    mine.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in PLACE.iterdir():
        _tidy(path, is_mine=path == mine)
    while True:
        mine.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(mine, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            os.utime(descriptor)  # in use today
            return descriptor
        os.close(descriptor)  # another run found it too old


def _tidy(path: Path, *, is_mine: bool) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_mine:
                cache_directory.tidy(path, Settings(clean_cache=MAX_DAYS, cache_size=None), "")
            elif time.time() - path.stat().st_mtime > MAX_DAYS * 86400:
                shutil.rmtree(path)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)
