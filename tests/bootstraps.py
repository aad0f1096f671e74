"""Keeps bootstraps from one run of the tests to the next: each takes a minute or more.

The kit's own cache key depends on what was bootstrapped, but not on the code that did it. So the
directory is named after the digest of that code: changed code bootstraps anew. No cache gets older
than MAX_DAYS, so that faults with the mirror's current packages are found.
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
ENTRIES = ("installer.debootstrap", "installer.bootstrap.cache")  # make and keep bootstraps


def directory() -> Path:
    """The directory that SANDBOX_CACHE names, or that of the current code."""
    chosen = os.environ.get("SANDBOX_CACHE")
    return Path(chosen) if chosen else PLACE / code_digest(TOP)


def code_digest(top: Path) -> str:
    """A digest of the modules that make a bootstrap, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(modules(top)):
        digest.update(f"{path.relative_to(top)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def modules(top: Path) -> set[Path]:
    """The modules of a checkout that make a bootstrap, found by their imports."""
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
    """Makes and locks the directory, so that other runs do not remove it; removes old ones.

    Returns:
        A descriptor that holds the lock until it is closed. None if SANDBOX_CACHE names the
        directory: then its owner has to remove old files.
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
            os.utime(descriptor)  # marks it as used today
            return descriptor
        os.close(descriptor)  # another run removed it as too old


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
