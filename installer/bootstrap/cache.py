"""The cache: bootstraps as compressed tar files, shared by all creates of this node.

Creates may use it at the same time, and may be killed at any moment. A cache file gets its final
name only when it is complete. A partial file is a leftover if nobody holds its lock.
"""

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from math import ceil, floor
from pathlib import Path

from installer.bootstrap import accounts, cache_directory, mirror_check
from installer.bootstrap.plan import BootstrapPlan
from installer.settings import MIB, Settings
from node.errors import CommandError, KitError
from node.files import open_regular, sync_directory
from node.lockfile import Lock, locked, part_of, same_file
from node.log import log, step
from node.run import run
from node.text import size as size_text

FORMAT = 4  # raise it when the same plan results in another tree
TOOLS = ("tar", "zstd")
NAMED = 5  # maximum number of files that a warning names
_GIVEN_UP = "the create that it waited for could not store it either"
_NO_CACHE = "a file of that name is not a cache of ours, or cannot be removed"

# The output of getfacl(1), getcap(8) and getfattr(1) must be the same after unpacking. ACLs are
# extended attributes, too (acl(5)): with --acls, tar would set one on every file when it unpacks.
# Records of 256 KiB (512 blocks) shorten an extraction by a quarter, with fewer switches between
# zstd and tar.
_TAR = (
    *("tar", "--selinux", "--xattrs", "--xattrs-include=*", "--numeric-owner"),
    "--blocking-factor=512",
)
# Compared with zstd's default level, a cache is a fifth larger; unpacking takes a third less CPU
# time.
_COMPRESSOR = "zstd -T0 --fast=1"
# tar's messages about the files that it reads, and not about the archive.
_GUESTS_FAULT = re.compile(r"^\S*tar: \./", re.MULTILINE)
_EXCLUDED = ("./proc/*", "./sys/*", "./run/*", "./tmp/*", "lost+found")

# Returns the files that guests must not share; if there are any, the bootstrap is not stored.
Bootstrap = Callable[[Path, BootstrapPlan], tuple[str, ...]]


def key(plan: BootstrapPlan) -> str:
    """A hash of all that determines the tree: 16 hexadecimal digits; reads the keyrings."""
    facts = {
        "format": FORMAT,
        "engine": plan.engine,
        "suite": plan.suite,
        "arch": plan.arch,
        "mirrors": [plan.mirrors.main, plan.mirrors.security],
        "components": plan.components,
        "packages": plan.packages,
        "merged_usr": plan.merged_usr,
        "keyrings": [hashlib.sha256(path.read_bytes()).hexdigest() for path in plan.keyrings],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def file_name(plan: BootstrapPlan) -> str:
    """The file name of the plan's cache."""
    return f"cache-{plan.suite}-{plan.arch}-{key(plan)}.tar.zst"


def extract_argv(archive: str, root: Path) -> list[str]:
    """The command that unpacks a cache into an empty guest."""
    return [*_TAR, "--use-compress-program=zstd", "-x", "-f", archive, "-C", str(root)]


def store_argv(archive: Path, root: Path) -> list[str]:
    """The command that packs a guest with all file systems that are mounted in it."""
    excludes = [f"--exclude={pattern}" for pattern in _EXCLUDED]
    return [
        *(*_TAR, "--sparse", f"--use-compress-program={_COMPRESSOR}", *excludes),
        *("-c", "-f", str(archive), "-C", str(root), "."),
    ]


def check(plan: BootstrapPlan, settings: Settings) -> None:
    """Checks the cache, or the mirrors if there is no cache, before a disk is written.

    Raises:
        KitError: others may write to the cache or its directory, or a mirror is not usable, see
            `mirror_check.check`.
    """
    directory = cache_directory.usable(settings)
    opened = None
    if directory is not None:
        cache_directory.tidy(directory, settings, file_name(plan))
        opened = _open(directory / file_name(plan))
    if opened is None:
        mirror_check.check(plan)
    else:
        os.close(opened)


def accounts_in(plan: BootstrapPlan, settings: Settings) -> frozenset[str]:
    """The names of users and groups in the plan's cache; empty if it is missing or damaged."""
    directory = cache_directory.usable(settings)
    descriptor = None if directory is None else _open(directory / file_name(plan))
    if descriptor is None:
        return frozenset()
    try:
        archive = f"/proc/{os.getpid()}/fd/{descriptor}"
        # --occurrence: tar stops when it has found each file once.
        options = ("--use-compress-program=zstd", "--occurrence=1", "-x", "-O", "-f", archive)
        found = run(["tar", *options, *(f"./{path}" for path in accounts.FILES)], check=False)
        return accounts.names(found.stdout)
    finally:
        os.close(descriptor)


def fill(root: Path, plan: BootstrapPlan, settings: Settings, bootstrap: Bootstrap) -> float:
    """Fills a mounted, empty guest from the cache, or with a bootstrap, which is then cached.

    If several creates need the same cache, one makes it, and the others wait. If the bootstrap
    cannot be stored, there is a warning, and those who waited make their own bootstraps.

    Returns:
        the age of the guest's packages in days: that of the cache, or 0.

    Raises:
        KitError: no space in the guest, or an error of `bootstrap`.
    """
    directory = cache_directory.usable(settings)
    if directory is None:
        _not_kept(Path(settings.cache_dir), "the directory cannot be created")
        bootstrap(root, plan)
        return 0.0
    cache_directory.tidy(directory, settings, file_name(plan))
    cache = directory / file_name(plan)
    while (age := _restore(cache, root, plan.engine)) is None:
        useless = _identity(cache)
        with ExitStack() as stack:
            lock = _locked(stack, cache) if settings.generate_cache else None
            there = _identity(cache)
            if lock and there not in (None, useless):  # made while we waited
                continue
            if lock and (lock.given_up or there is not None):
                _not_kept(cache, _GIVEN_UP if lock.given_up else _NO_CACHE)
                lock = None
            if lock is None:
                stack.close()  # creates that wait need not wait longer
            unshared = bootstrap(root, plan)
            if lock:
                problem = _not_to_be_shared(unshared) or _store(root, cache, settings.cache_size)
                if problem:
                    lock.give_up()
                    _not_kept(cache, problem)
            return 0.0
    return age


def renew(root: Path, plan: BootstrapPlan, settings: Settings, bootstrap: Bootstrap) -> Path:
    """Bootstraps into a mounted, empty guest, and stores the result as the plan's cache.

    Creates use the old cache until the new one is complete. Returns the path of the cache.

    Raises:
        KitError: it cannot be stored, or an error of `bootstrap`.
    """
    cache = Path(settings.cache_dir) / file_name(plan)
    with ExitStack() as stack:
        lock = _locked(stack, cache)
        unshared = bootstrap(root, plan)
        problem = _not_to_be_shared(unshared) or _store(root, cache, settings.cache_size)
        if problem:
            if lock and not lock.given_up:
                lock.give_up()
            raise KitError(
                f"cache {cache}: the new bootstrap of {plan.suite} is not stored: {problem}",
                hint="make room, or increase CACHE_SIZE; if packages brought files that guests must"
                " not share, each create has to bootstrap",
            )
    return cache


def _not_to_be_shared(unshared: tuple[str, ...]) -> str | None:
    more = f" and {len(unshared) - NAMED} more" if len(unshared) > NAMED else ""
    named = ", ".join(unshared[:NAMED])
    return f"guests must not share {named}{more}" if unshared else None


def _not_kept(cache: Path, reason: str) -> None:
    log.warning("cache %s: this bootstrap is not stored: %s", cache, reason)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Device, inode and time of the file at a path, of any type; None if there is none."""
    status = _status(path)
    return None if status is None else (status.st_dev, status.st_ino, status.st_mtime_ns)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _locked(stack: ExitStack, cache: Path) -> Lock | None:
    """Takes the lock for making a cache; None, with a warning, if the lock file cannot be made."""
    lock = cache.with_name(cache.name + ".lock")
    try:
        return stack.enter_context(locked(lock, "another create that makes the same cache"))
    except OSError as error:
        _not_kept(cache, f"{lock.name}: {error.strerror}")
        return None


def empty(directory: Path) -> bool:
    """Removes the files of a failed extraction, but keeps mount points and each lost+found.

    Returns whether anything was kept.
    """
    stayed = False
    for entry in list(os.scandir(directory)):
        path = Path(entry.path)
        if not entry.is_dir(follow_symlinks=False):
            path.unlink()
        elif entry.name == "lost+found" or empty(path) or path.is_mount():
            stayed = True
        else:
            path.rmdir()
    return stayed


def _open(cache: Path) -> int | None:
    """Opens a cache with a shared lock, so that it is not removed; None if there is none.

    Raises:
        KitError: others may write to it.
    """
    try:
        descriptor = open_regular(cache, follow=False)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        cache_directory.refuse_foreign(cache, status)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        if same_file(cache, status):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)  # removed before it was locked
    return None


def _restore(cache: Path, root: Path, engine: str) -> float | None:
    """Unpacks the cache and returns its age in days; None if there is none, or it is damaged."""
    descriptor = _open(cache)
    if descriptor is None:
        return None
    try:
        status = os.fstat(descriptor)
        days = (time.time() - status.st_mtime) / 86400
        log.info("cache: %s, made by %s %.1f days ago", cache.name, engine, days)
        with suppress(OSError):  # a read-only directory
            os.utime(descriptor, ns=(time.time_ns(), status.st_mtime_ns))
        with step("unpacking of the cache"):
            try:
                if status.st_size > 0:
                    archive = f"/proc/{os.getpid()}/fd/{descriptor}"
                    run(extract_argv(archive, root), what=f"unpacking of {cache.name}")
                    return days
            except CommandError as error:
                _blame_the_guest(cache, root, status, error)
            log.warning("cache %s is damaged: it is made again", cache)
            if same_file(cache, status):
                with suppress(OSError):
                    cache.unlink()
            empty(root)
            return None
    finally:
        os.close(descriptor)


def _blame_the_guest(cache: Path, root: Path, status: os.stat_result, error: CommandError) -> None:
    """Raises an error if tar failed because of the guest; returns if the cache is damaged."""
    if not same_file(cache, status):
        return  # replaced by another create that found it damaged
    test = run(["zstd", "--test", "--verbose", cache], check=False)
    if test.exit_code != 0:
        return
    if not re.search("No space left on device|Wrote only", error.stderr):
        raise error
    figures = os.statvfs(root)
    match = re.search(r"(\d+) bytes", test.stdout + test.stderr)
    size = size_text(int(match[1])) if match else "more"
    raise KitError(
        f"unpacking of {cache.name}: a disk of the guest is too small: its files need {size}, the"
        f" root file system has {size_text(figures.f_blocks * figures.f_frsize)}",
        hint="make disk 0 larger",
    ) from error


def _store(root: Path, cache: Path, limit: int | None) -> str | None:
    """Stores a bootstrap, unless it is larger than the limit in MiB; returns why not, or None.

    Raises:
        CommandError: the guest cannot be read.
    """
    try:
        with step("cache"), part_of(cache) as (part, descriptor):
            run(store_argv(part, root), what=f"cache {cache}")
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
            if limit is not None and size > limit * MIB:
                allowed = size_text(limit * MIB, floor)
                return f"it needs {size_text(size, ceil)}, but CACHE_SIZE allows {allowed}"
            before = _status(cache)
            replaced = before.st_size if before else 0
            cache_directory.make_room(cache.parent, limit, size - replaced, cache.name)
            if before:  # a rebuild is no use
                os.utime(descriptor, ns=(before.st_atime_ns, time.time_ns()))
            part.rename(cache)
            sync_directory(cache.parent)
            log.info("stored as %s, %s", cache, size_text(size))
    except CommandError as error:
        if _GUESTS_FAULT.search(error.stderr):
            raise
        return next(iter(error.stderr.splitlines()), error.message).strip()
    except OSError as error:
        return str(error.strerror)
    return None
