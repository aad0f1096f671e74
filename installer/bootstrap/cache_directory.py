"""Removes leftovers of killed creates, old caches and too large caches from the cache directory."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from installer.settings import MIB, Settings
from node.lockfile import unlink_if_free
from node.log import log

# Caches of ganeti-instance-debootstrap, cache-<suite>-<arch>.tar, have no key and are not removed.
_NAME = r"cache-[a-z0-9.+-]+-[a-z0-9]+-[0-9a-f]{16}\.tar\.zst"
_CACHE = re.compile(_NAME)
_LOCK = re.compile(_NAME + r"\.lock")
_PART = re.compile(r"\." + _NAME + r"\.[a-z0-9_]+\.part")


class _Kept(NamedTuple):
    """An existing cache: size in bytes, time of its creation and last use in seconds (Unix)."""

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
    """Removes leftovers of killed creates, and caches that are too old or too large.

    Files that another create makes or reads are kept.

    Args:
        directory: the cache directory.
        settings: they limit age and size.
        wanted: the name of the cache that will be used; the limit of the size does not remove it.
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
    """Removes the least recently used caches, until `needed` more bytes fit.

    Args:
        directory: the cache directory.
        limit: the maximum size of all caches together, in MiB; None for no limit.
        needed: the size of a new cache, in bytes.
        wanted: the name of the cache that is not removed.
    """
    if limit is None:
        return
    caches = sorted(_kept(directory), key=lambda cache: cache.used)
    total = needed + sum(cache.size for cache in caches)
    for cache in caches:
        if total <= limit * MIB:
            return
        if cache.path.name != wanted and unlink_if_free(cache.path):
            log.info("cache %s is the least recently used: removed", cache.path.name)
            total -= cache.size
