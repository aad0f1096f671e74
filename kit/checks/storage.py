"""Checks the cache, leftovers, and free space for the cache and Ganeti's logs."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from installer.bootstrap import cache_directory
from installer.bootstrap.cache_directory import Kept
from installer.create import Decided
from installer.settings import MIB, Settings
from kit import gc, site
from kit.facts import LOGS
from node.finding import Finding, note, ok, problem
from node.text import size

GIB = 1 << 30
# For a new cache, and for the disk on which `instance-kit cache` bootstraps it.
CACHE_ROOM = 2 * GIB
LOG_ROOM = 16 * MIB
# The first bytes of every frame (RFC 8878, 3.1.1).
ZSTD_MAGIC = bytes.fromhex("28b52ffd")


def caches(directories: Sequence[Path], settings: Settings) -> Iterator[Finding]:
    """Owner, mode, content and free space of the cache directories."""
    for directory in directories:
        about = f"cache {directory}"
        cache_directory.usable(replace(settings, cache_dir=str(directory)))
        kept = list(cache_directory.kept(directory))
        for each in kept:
            if why := _unusable(each):
                yield problem(about, f"{each.path.name}: {why}", f"rm {each.path}")
        total = size(sum(each.size for each in kept))
        limit = "no limit" if settings.cache_size is None else size(settings.cache_size * MIB)
        yield ok(about, f"{len(kept)} kept, {total} of {limit} (CACHE_SIZE)")
        yield from room(directory, CACHE_ROOM, about, "instance-kit cache prune, or make room")


def _unusable(kept: Kept) -> str | None:
    """Why creates would refuse or rebuild a cache; only its first bytes are read."""
    status = kept.path.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        return "others may write to it, and creates refuse it"
    with kept.path.open("rb") as file:
        if file.read(len(ZSTD_MAGIC)) != ZSTD_MAGIC:
            return "it is damaged"
    return None


def of_variants(decided: Mapping[str, Decided]) -> Iterator[Finding]:
    """Whether each variant has a cache, and its age."""
    for name, each in decided.items():
        path = site.cache_path(each)
        about = f"cache of variant {name}"
        if not path.exists():
            remedy = f"instance-kit cache build {name}"
            yield note(about, "none: the first create takes minutes", remedy)
            continue
        days = (time.time() - path.stat().st_mtime) / 86400
        yield ok(about, f"{path.name}, {days:.1f} days old")


def leftovers(directories: Sequence[Path]) -> Iterator[Finding]:
    """Files that killed runs left."""
    found = gc.leftovers(directories)
    if found:
        total = size(sum(each.size for each in found))
        yield note("leftovers", f"{len(found)} files and mounts, {total}", "instance-kit gc")
    else:
        yield ok("leftovers", "none")


def logs(directory: Path = LOGS) -> Iterator[Finding]:
    """Free space for Ganeti's OS logs, without which nobody learns the password of a guest."""
    about = f"OS logs {directory}"
    if directory.is_dir():
        yield from room(
            directory,
            LOG_ROOM,
            about,
            "make room there: creates fail if they cannot log the password",
        )
    else:
        yield note(about, "there is no such directory", "is this a node of a Ganeti cluster?")


def room(directory: Path, needed: int, about: str, remedy: str) -> Iterator[Finding]:
    """Whether a file system has `needed` bytes free."""
    figures = os.statvfs(directory)
    free = figures.f_bavail * figures.f_frsize
    text = f"{size(free)} free"
    yield ok(about, text) if free >= needed else problem(about, f"only {text}", remedy)
