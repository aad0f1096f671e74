"""The directory of all caches: what is left of killed creates, too old or too much goes."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from installer.settings import MIB, Settings
from node.lockfile import unlink_if_free
from node.log import log

# ganeti-instance-debootstrap's own, cache-<suite>-<arch>.tar, have no key and are left alone.
_NAME = r"cache-[a-z0-9.+-]+-[a-z0-9]+-[0-9a-f]{16}\.tar\.zst"
_CACHE = re.compile(_NAME)
_LOCK = re.compile(_NAME + r"\.lock")
_PART = re.compile(r"\." + _NAME + r"\.[a-z0-9_]+\.part")


class _Kept(NamedTuple):
    """A cache that is there: bytes, and when it was made and last used, in seconds."""

    path: Path
    size: int
    made: float
    used: float


def _kept(directory: Path) -> Iterator[_Kept]:
    for path in sorted(directory.iterdir()):
        if _CACHE.fullmatch(path.name):
            with suppress(FileNotFoundError):
                status = path.lstat()
                yield _Kept(path, status.st_size, status.st_mtime, status.st_atime)


def tidy(directory: Path, settings: Settings, wanted: str) -> None:
    """Removes what killed creates have left, and caches that are too old or too many.

    What another create makes or reads stays.

    Args:
        directory: the cache directory.
        settings: they limit age and size.
        wanted: the name of the cache that is about to be used.
    """
    for path in sorted(directory.iterdir()):
        if _PART.fullmatch(path.name) or _LOCK.fullmatch(path.name):
            unlink_if_free(path)
    days = settings.clean_cache
    for cache in _kept(directory):
        old = days is not None and time.time() - cache.made > days * 86400
        if old and unlink_if_free(cache.path):
            log.info("cache %s is older than %d days: removed", cache.path.name, days)
    make_room(directory, settings.cache_size, 0, wanted)


def make_room(directory: Path, limit: int | None, needed: int, wanted: str) -> None:
    """Removes the caches that were not used for longest, until `needed` bytes more fit.

    Args:
        directory: the cache directory.
        limit: of all caches together, in MiB; None for no limit.
        needed: what is about to be added, in bytes.
        wanted: the name of the cache that stays in any case.
    """
    if limit is None:
        return
    caches = sorted(_kept(directory), key=lambda cache: cache.used)
    total = needed + sum(cache.size for cache in caches)
    for cache in caches:
        if total <= limit * MIB:
            return
        if cache.path.name != wanted and unlink_if_free(cache.path):
            log.info("cache %s was not used for longest: removed", cache.path.name)
            total -= cache.size
