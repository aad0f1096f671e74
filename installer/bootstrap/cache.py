"""The cache: each bootstrap once, as a compressed tar, shared by all creates of this node.

It may be used by any number of creates at once, and killed at any moment: a cache gets its name
only when it is whole, and what a killed maker leaves is recognised by its lock being free.
"""

import errno
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

FORMAT = 3  # to be raised when the same plan comes to another tree
TOOLS = ("tar", "zstd")
NAMED = 5  # of the files for which a bootstrap is not kept
_GIVEN_UP = "the create that it waited for could not keep it either"
_NO_CACHE = "what has that name is none of ours, or cannot be removed"

# What getfacl(1), getcap(8) and getfattr(1) show must come out as it went in. ACLs are extended
# attributes, too (acl(5)): with --acls, tar would set one on every file when it unpacks.
# Records of 256 KiB (512 blocks) cut the time of an extraction by a quarter: the pipe is switched
# less often.
_TAR = (
    *("tar", "--selinux", "--xattrs", "--xattrs-include=*", "--numeric-owner"),
    "--blocking-factor=512",
)
# Of this level, a cache takes a fifth more room than of zstd's usual one, and unpacking it a third
# less CPU time. zstd tells the level by itself when it unpacks.
_COMPRESSOR = "zstd -T0 --fast=1"
# What tar says of the files that it reads, and not of the archive.
_GUESTS_FAULT = re.compile(r"^\S*tar: \./", re.MULTILINE)
_EXCLUDED = ("./proc/*", "./sys/*", "./run/*", "./tmp/*", "lost+found")

# Gives what guests must not share: then it is not kept.
Bootstrap = Callable[[Path, BootstrapPlan], tuple[str, ...]]


def key(plan: BootstrapPlan) -> str:
    """16 hexadecimal digits that stand for all that determines the tree; reads the keyrings."""
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
    """The name of the plan's cache in the cache directory."""
    return f"cache-{plan.suite}-{plan.arch}-{key(plan)}.tar.zst"


def extract_argv(archive: str, root: Path) -> list[str]:
    """tar(1)'s arguments that unpack a cache into an empty guest."""
    # zstd's threads that read and write cost a tenth of the CPU time, and it waits for tar anyway.
    unpack = "--use-compress-program=zstd --no-asyncio"
    return [*_TAR, unpack, "-x", "-f", archive, "-C", str(root)]


def store_argv(archive: Path, root: Path) -> list[str]:
    """tar(1)'s arguments that pack a guest, over all of its mounts."""
    excludes = [f"--exclude={pattern}" for pattern in _EXCLUDED]
    return [
        *(*_TAR, "--sparse", f"--use-compress-program={_COMPRESSOR}", *excludes),
        *("-c", "-f", str(archive), "-C", str(root), "."),
    ]


def check(plan: BootstrapPlan, settings: Settings) -> None:
    """What can be checked before a disk is touched: the cache, or the mirrors where none serves.

    Raises:
        KitError: the cache directory or the cache is not ours alone; the mirror lacks the suite.
    """
    directory = _directory(settings)
    opened = None
    if directory is not None:
        cache_directory.tidy(directory, settings, file_name(plan))
        opened = _open(directory / file_name(plan))
    if opened is None:
        mirror_check.check(plan)
    else:
        os.close(opened)


def accounts_in(plan: BootstrapPlan, settings: Settings) -> frozenset[str]:
    """The names of users and groups in the plan's cache; none where it is not there or damaged."""
    directory = _directory(settings)
    descriptor = None if directory is None else _open(directory / file_name(plan))
    if descriptor is None:
        return frozenset()
    try:
        archive = f"/proc/{os.getpid()}/fd/{descriptor}"
        # Once each has been found, the rest is not read.
        options = ("--use-compress-program=zstd", "--occurrence=1", "-x", "-O", "-f", archive)
        found = run(["tar", *options, *(f"./{path}" for path in accounts.FILES)], check=False)
        return accounts.names(found.stdout)
    finally:
        os.close(descriptor)


def fill(root: Path, plan: BootstrapPlan, settings: Settings, bootstrap: Bootstrap) -> float:
    """Fills a mounted, empty guest: from the cache, or by a bootstrap that fills the cache, too.

    Of creates that want the same cache at once, one makes it, the others wait. The guest does not
    depend on whether the bootstrap can be kept: that it cannot is a warning, and those who waited
    bootstrap at the same time. Returns the age of the guest's packages in days: the cache's, or 0.

    Raises:
        KitError: no space in the guest, or what `bootstrap` raises.
    """
    directory = _directory(settings)
    if directory is None:
        _not_kept(Path(settings.cache_dir), "the directory cannot be made")
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
                stack.close()  # those who wait have nothing to wait for
            unshared = bootstrap(root, plan)
            if lock:
                problem = _not_to_be_shared(unshared) or _store(root, cache, settings.cache_size)
                if problem:
                    lock.give_up()
                    _not_kept(cache, problem)
            return 0.0
    return age


def _not_to_be_shared(unshared: tuple[str, ...]) -> str | None:
    more = f" and {len(unshared) - NAMED} more" if len(unshared) > NAMED else ""
    named = ", ".join(unshared[:NAMED])
    return f"no two guests may share {named}{more}" if unshared else None


def _not_kept(cache: Path, reason: str) -> None:
    log.warning("cache %s: this bootstrap is not kept for others: %s", cache, reason)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What stands at a path, whatever it is; None for nothing."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _locked(stack: ExitStack, cache: Path) -> Lock | None:
    """Takes the lock for making a cache; None, with a warning, where it cannot be made."""
    lock = cache.with_name(cache.name + ".lock")
    try:
        return stack.enter_context(locked(lock, "another create that makes the same cache"))
    except OSError as error:
        _not_kept(cache, f"{lock.name}: {error.strerror}")
        return None


def empty(directory: Path) -> bool:
    """Removes what a failed extraction left; mount points and each lost+found stay.

    Returns whether anything stayed.
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


def _directory(settings: Settings) -> Path | None:
    """The cache directory; None where it is missing and cannot be made.

    Raises:
        KitError: it is no directory, or not ours alone.
    """
    directory = Path(settings.cache_dir)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_foreign(directory, directory.stat())
    except OSError as error:
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            return None
        raise KitError(
            f"cache directory {directory}: {error.strerror}", hint="correct CACHE_DIR"
        ) from error
    return directory


def _refuse_foreign(path: Path, status: os.stat_result) -> None:
    """A guest's root file system comes from here: nobody else may have had a hand in it."""
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise KitError(
            f"cache {path}: others may write to it (owner {status.st_uid},"
            f" mode {status.st_mode & 0o7777:04o})",
            hint=f"see who did so, then remove it, or chown root {path}; chmod go-w {path}",
        )


def _open(cache: Path) -> int | None:
    """A descriptor of the cache, which keeps it whole and there; None where there is none of ours.

    Raises:
        KitError: others may write to it.
    """
    try:
        descriptor = open_regular(cache, follow=False)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        _refuse_foreign(cache, status)
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
    """Unpacks the cache and gives its age in days; None: there is none, or it was damaged."""
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
            log.warning("cache %s is damaged: it is made anew", cache)
            if same_file(cache, status):
                with suppress(OSError):
                    cache.unlink()
            empty(root)
            return None
    finally:
        os.close(descriptor)


def _blame_the_guest(cache: Path, root: Path, status: os.stat_result, error: CommandError) -> None:
    """Raises unless it was the cache that made tar fail."""
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
        f"unpacking of {cache.name}: a disk of the guest is too small: its files take {size}, and"
        f" {size_text(figures.f_blocks * figures.f_frsize)} is what the root file system holds",
        hint="make disk 0 larger",
    ) from error


def _store(root: Path, cache: Path, limit: int | None) -> str | None:
    """Keeps a bootstrap, unless it is larger than the limit (MiB); gives why it could not, or None.

    Raises:
        CommandError: it is the guest that cannot be read.
    """
    try:
        with step("cache"), part_of(cache) as (part, descriptor):
            run(store_argv(part, root), what=f"cache {cache}")
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
            if limit is not None and size > limit * MIB:
                allowed = size_text(limit * MIB, floor)
                return f"it takes {size_text(size, ceil)}, and CACHE_SIZE allows {allowed}"
            cache_directory.make_room(cache.parent, limit, size, cache.name)
            part.rename(cache)
            sync_directory(cache.parent)
            log.info("kept as %s, %s", cache, size_text(size))
    except CommandError as error:
        if _GUESTS_FAULT.search(error.stderr):
            raise
        return next(iter(error.stderr.splitlines()), error.message).strip()
    except OSError as error:
        return str(error.strerror)
    return None
