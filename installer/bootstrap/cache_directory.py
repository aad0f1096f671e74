"""Removes leftovers of killed creates, old caches and too large caches from the cache directory."""

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from installer.settings import MIB, Settings
from node.errors import KitError
from node.lockfile import unlink_if_free
from node.log import log

BUILD = "build"

# Caches of ganeti-instance-debootstrap, cache-<suite>-<arch>.tar, have no key and are not removed.
_NAME = r"cache-[a-z0-9.+-]+-[a-z0-9]+-[0-9a-f]{16}\.tar\.zst"
_CACHE = re.compile(_NAME)
_LOCK = re.compile(_NAME + r"\.lock")
# A cache that is being written, or the disk on which `instance-kit cache` bootstraps.
_PART = re.compile(rf"\.({_NAME}|{BUILD})\.[a-z0-9_]+\.part")


class Kept(NamedTuple):
    """An existing cache: size in bytes, time of its creation and last use in seconds (Unix)."""

    path: Path
    size: int
    made: float
    used: float


def usable(settings: Settings) -> Path | None:
    """The cache directory; None if it is missing and there is no space to make it.

    Raises:
        KitError: it is not a directory, or others may write to it.
    """
    directory = Path(settings.cache_dir)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_foreign(directory, directory.stat())
    except OSError as error:
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            return None
        raise KitError(
            f"cache directory {directory}: {error.strerror}", hint="correct CACHE_DIR"
        ) from error
    return directory


def refuse_foreign(path: Path, status: os.stat_result) -> None:
    """Refuses a path that others may write to: the guest's root file system comes from it."""
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise KitError(
            f"cache {path}: others may write to it (owner {status.st_uid},"
            f" mode {status.st_mode & 0o7777:04o})",
            hint=f"check who did, then remove it, or chown root {path}; chmod go-w {path}",
        )


def kept(directory: Path) -> Iterator[Kept]:
    """The existing caches, sorted by name."""
    for path in sorted(directory.iterdir()):
        if _CACHE.fullmatch(path.name):
            with suppress(FileNotFoundError):
                status = path.lstat()
                yield Kept(path, status.st_size, status.st_mtime, status.st_atime)


def temporary(directory: Path) -> Iterator[Path]:
    """Temporary files of running creates, and of killed ones: their lock is free."""
    for path in sorted(directory.iterdir()):
        if _PART.fullmatch(path.name) or _LOCK.fullmatch(path.name):
            yield path


def tidy(directory: Path, settings: Settings, wanted: str) -> None:
    """Removes leftovers of killed creates, and caches that are too old or too large.

    Files that another create makes or reads are kept.

    Args:
        directory: the cache directory.
        settings: they limit age and size.
        wanted: the name of the cache that will be used; the limit of the size does not remove it.
    """
    for path in temporary(directory):
        unlink_if_free(path)
    days = settings.clean_cache
    for cache in kept(directory):
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
    caches = sorted(kept(directory), key=lambda cache: cache.used)
    total = needed + sum(cache.size for cache in caches)
    for cache in caches:
        if total <= limit * MIB:
            return
        if cache.path.name != wanted and unlink_if_free(cache.path):
            log.info("cache %s is the least recently used: removed", cache.path.name)
            total -= cache.size
